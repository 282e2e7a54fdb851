"""Telemetry events, read by the table in telemetry.py: a whole block at once, or a single line.

Almost every line of an enterprise worker's log is such an event. A block's lines are decoded by the types of the table
and added up; a line that is anything else, or not exactly as expected, is left to the reader of single lines, where a
wrong value costs only itself. A test holds that both give the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

import msgspec
from msgspec import defstruct, structs

from parsers.batch import Record
from parsers.dify.block import Found, Line, by_quarter, decoded, newest_of, parts_of
from parsers.dify.sums import Sums, apart
from parsers.dify.telemetry import TABLE, UNPRICED, Event, Priced, Seconds, Text
from parsers.dropped import dropped
from parsers.values import json as lenient_json
from parsers.values.numbers import nanoseconds

#: What such a line holds.
_SIGN = b'"telemetry.'

_decode_attributes = lenient_json.decoder(dict[str, Any])


class _Line(Line, frozen=True, gc=False, kw_only=True):
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]
    attributes: Any


class Events:
    """Reads the events of a table; holds decoders and nothing else."""

    def __init__(self, table: Sequence[type[Event]]) -> None:
        attributes = [("attributes", Union[tuple(table)])]  # noqa: UP007 - its members are known here
        line = defstruct("_Line", attributes, bases=(_Line,), frozen=True, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(line).decode
        self._lenient = {str(kind.__struct_config__.tag): (kind, _plan(kind)) for kind in table}

    def records(self, raw: bytes, at: int | None) -> Sequence[Record]:
        """The records of one event, from the attributes of its line; an event outside the table has none."""
        try:
            attributes = _decode_attributes(raw)
        except (ValueError, RecursionError):
            return ()
        name = attributes.get("dify.event.name")
        if not isinstance(name, str) or name not in self._lenient:
            return ()
        kind, plan = self._lenient[name]
        values, unread = {}, list[Record]()
        for each in plan.keys() & attributes.keys():
            field, convert = plan[each]
            values[field] = value = convert(attributes[each])
            if convert is _seconds:
                unread += dropped(field, attributes[each], value)
        event = kind(**values)
        if event.is_copy:
            return ()
        sums = Sums(strict=False)
        sums.add(kind, (event,), at)
        return [*sums.records(), *unread]

    def read(self, block: bytes) -> Found:
        """The records of the regular events among whole lines."""
        sums, times, lines, rest = Sums(strict=True), list[str](), 0, list[bytes]()
        for raws in parts_of(block, _SIGN):
            found, odd = decoded(raws, self._decode), set[int]()
            known = [line for line in found if line is not None]
            for quarter, newest, members in by_quarter(known):
                if quarter is None:
                    odd.update(map(id, members))
                else:
                    for kind, events in apart([line.attributes for line in members], type):
                        sums.add(kind, events, quarter)
                    times.append(newest)
            lines += len(raws)
            if odd or len(known) < len(raws):
                rest += [raw for raw, line in zip(raws, found, strict=True) if line is None or id(line) in odd]
        if not lines:
            return Found((), None, 0, block)
        return Found(sums.records(), newest_of(times), lines - len(rest), b"".join(rest))


def _plan(kind: type[Event]) -> Mapping[str, tuple[str, Callable[[Any], Any]]]:
    """By attribute: its field, and the conversion for a value of any type."""
    return {each.encode_name: (each.name, _CONVERSIONS.get(each.type, _unchanged)) for each in structs.fields(kind)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(value: Any) -> float | None:
    return None if nanoseconds(value) is None else float(value)


def _priced(value: object) -> Priced:
    return Priced(value.get("total_price"), _text(value.get("currency"))) if isinstance(value, dict) else UNPRICED


def _unchanged(value: object) -> object:
    return value


#: Counts and prices stay as they are: a wrong one is reported as inconsistent, or is no price.
_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {Text: _text, Seconds: _seconds, Priced: _priced}

EVENTS = Events(TABLE)
