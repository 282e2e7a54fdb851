"""Read telemetry events by the table in telemetry.py: a whole block at once, or a single line.

Almost every line of an enterprise worker's log is such an event. The lines of a block are decoded by the types of the
table and summed up. Any other line, or a line that is not exactly as expected, is left to the reader of single lines,
which drops only the wrong value. A test checks that both give the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

import msgspec
from msgspec import defstruct, structs

from parsers.batch import Record
from parsers.blocks import BlockResult, TimedLine, read_lines
from parsers.dify.sums import EventSums, grouped
from parsers.dify.telemetry import NO_PRICE, TABLE, Seconds, TelemetryEvent, Text, UsagePrice
from parsers.dropped import dropped
from parsers.values import json as lenient_json
from parsers.values.numbers import seconds

_read_attributes = lenient_json.reader(dict[str, Any])


class _EventLine(TimedLine, frozen=True, gc=False, kw_only=True):
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]


class EventReader:
    """Reads the events of a table. It keeps decoders and no other state.

    `line` has the other members of their lines. `sign` is a text that each of these lines contains. `sums` adds up the
    events; its argument is whether they come from a block.
    """

    def __init__(
        self,
        table: Sequence[type[TelemetryEvent]],
        line: type[TimedLine] = _EventLine,
        sign: bytes = b'"telemetry.',
        sums: Callable[[bool], EventSums] = EventSums,
    ) -> None:
        attributes = [("attributes", Union[tuple(table)])]  # noqa: UP007 - its members are known here
        decoded = defstruct("_Line", attributes, bases=(line,), frozen=True, gc=False)
        self._sign, self._sums = sign, sums
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(decoded).decode
        self._lenient = {str(kind.__struct_config__.tag): (kind, _plan(kind)) for kind in table}

    def records(self, raw: bytes, at: int | None) -> Sequence[Record]:
        """Return the records of one event from the attributes of its line; none for an event outside the table.

        `at` is the time of the line, in nanoseconds since the epoch.
        """
        if (attributes := _read_attributes(raw)) is None:
            return ()
        name = attributes.get("dify.event.name")
        if not isinstance(name, str) or name not in self._lenient:
            return ()
        kind, plan = self._lenient[name]
        values, dropped_records = {}, list[Record]()
        for each in plan.keys() & attributes.keys():
            field, convert = plan[each]
            values[field] = value = convert(attributes[each])
            if convert is seconds:
                dropped_records += dropped(field, attributes[each], value)
        event = kind(**values)
        if event.is_copy:
            return ()
        sums = self._sums(False)
        sums.add(kind, (event,), at)
        return [*sums.records(), *dropped_records]

    def read(self, block: bytes) -> BlockResult:
        """Return the records of the regular events of a block of whole lines."""
        sums = self._sums(True)

        def take(lines: Sequence[Any], quarter: int) -> Sequence[Any]:
            for kind, events in grouped([line.attributes for line in lines], type):
                sums.add(kind, events, quarter)
            return lines

        return read_lines(block, self._sign, self._decode, take)._replace(records=sums.records())


def _plan(kind: type[TelemetryEvent]) -> Mapping[str, tuple[str, Callable[[Any], Any]]]:
    """Return for each attribute its field, and the conversion of a value of any type."""
    return {each.encode_name: (each.name, _CONVERSIONS.get(each.type, _unchanged)) for each in structs.fields(kind)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _usage_price(value: object) -> UsagePrice:
    return UsagePrice(value.get("total_price"), _text(value.get("currency"))) if isinstance(value, dict) else NO_PRICE


def _unchanged(value: object) -> object:
    return value


#: Counts and prices are not converted here: a wrong count is later reported as inconsistent, a wrong price is dropped.
_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {Text: _text, Seconds: seconds, UsagePrice: _usage_price}

EVENTS = EventReader(TABLE)
