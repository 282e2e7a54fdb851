"""Read JSON lines with typed attributes, such as telemetry events: a whole block at once, or a single line.

The lines of a block are decoded by the types of the events' structs and summed up. Any other line, or a line that is
not exactly as expected, is left to the reader of single lines, which drops only the wrong value. A test checks that
both give the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol, Union, get_args, get_origin

import msgspec
from msgspec import Struct, defstruct, structs

from parsers.batch import Record
from parsers.blocks import BlockResult, TimedLine, read_lines
from parsers.dify.sums import EventSums
from parsers.dify.telemetry import TABLE, Seconds, TokenCount
from parsers.dropped import dropped
from parsers.values import json as lenient_json
from parsers.values.numbers import seconds, token_count

_read_attributes = lenient_json.reader(dict[str, Any])


class Sums(Protocol):
    """Sums of events. Its argument is whether they come from a block, so that their types are known."""

    def add_lines(self, lines: Sequence[Any], quarter: int) -> None: ...
    def add(self, kind: Any, events: Sequence[Any], at: int | None) -> None: ...
    def records(self) -> list[Record]: ...


class EventReader:
    """Reads the events of a table. It keeps decoders and no other state.

    `line` has the other members of their lines. `sign` is a text that each of these lines contains. `sums` adds up the
    events.
    """

    def __init__(
        self, table: Sequence[type[Struct]], line: type[TimedLine], sign: bytes, sums: Callable[[bool], Sums]
    ) -> None:
        attributes = [("attributes", Union[tuple(table)])]  # noqa: UP007 - its members are known here
        decoded = defstruct("_Line", attributes, bases=(line,), frozen=True, gc=False)
        self._sign, self._sums = sign, sums
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(decoded).decode
        self._lenient = {str(kind.__struct_config__.tag): (kind, _plan(kind)) for kind in table}

    def records(self, raw: bytes, at: int | None) -> Sequence[Record] | None:
        """Return the records of one event from the attributes of its line; None for attributes without an event's name.

        `at` is the time of the line, in nanoseconds since the epoch.
        """
        attributes = _read_attributes(raw) or {}
        name = attributes.get("dify.event.name")
        if not isinstance(name, str):
            return None
        if name not in self._lenient:
            return ()
        kind, plan = self._lenient[name]
        values, dropped_records = _values(attributes, plan)
        event: Any = kind(**values)
        if getattr(event, "is_copy", False):
            return ()
        sums = self._sums(False)
        sums.add(kind, (event,), at)
        return [*sums.records(), *dropped_records]

    def read(self, block: bytes) -> BlockResult:
        """Return the records of the regular events of a block of whole lines."""
        sums = self._sums(True)

        def take(lines: Sequence[Any], quarter: int) -> Sequence[Any]:
            sums.add_lines(lines, quarter)
            return lines

        return read_lines(block, self._sign, self._decode, take)._replace(records=sums.records())


#: For the name of an attribute: its field, and the conversion of a value of any type. The conversion returns None for
#: a value that is not understood.
_Plan = Mapping[str, tuple[str, Callable[[Any], Any]]]

#: The fields whose wrong values are reported, with the field of their DroppedValue.
_REPORTED = {
    "duration": "duration",
    "first_token": "first_token",
    "time_to_first_token": "first_token",
    "time_to_first_byte": "first_byte",
    "status_code": "status_code",
    "response_size": "bytes",
}
#: The fields that keep a value of any type. A wrong count or price is reported later.
_KEPT = ("input_tokens", "output_tokens", "total_tokens", "price", "links")


def _plan(kind: type[Struct]) -> _Plan:
    return {each.encode_name: (each.name, _conversion(each.name, each.type)) for each in structs.fields(kind)}


def _conversion(name: str, kind: Any) -> Callable[[Any], Any]:
    if name in _KEPT or kind in (None, type(None), Any):
        return lambda value: value
    if kind in (Seconds, TokenCount):
        return seconds if kind == Seconds else token_count
    if get_origin(kind) is tuple:
        convert = _conversion(name, get_args(kind)[0])
        return lambda value: (
            tuple(convert(each) for each in value if isinstance(each, dict)) if isinstance(value, list) else None
        )
    if isinstance(kind, type) and issubclass(kind, Struct):
        plan, make = _plan(kind), kind
        return lambda value: make(**_values(value, plan)[0]) if isinstance(value, dict) else None
    return partial(_typed, kind)


def _typed(kind: Any, value: object) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def _values(attributes: Mapping[str, Any], plan: _Plan) -> tuple[dict[str, Any], list[Record]]:
    """Return the values of the fields, and the records of those that are not understood."""
    values, dropped_records = dict[str, Any](), list[Record]()
    for each in plan.keys() & attributes.keys():
        name, convert = plan[each]
        if (value := convert(attributes[each])) is not None:
            values[name] = value
        elif name in _REPORTED:
            dropped_records += dropped(_REPORTED[name], attributes[each], None)
    return values, dropped_records


class _TelemetryLine(TimedLine, frozen=True, gc=False, kw_only=True):
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]


EVENTS = EventReader(TABLE, _TelemetryLine, b'"telemetry.', EventSums)
