"""Decode an ExportTraceServiceRequest in protobuf (opentelemetry-proto, collector/trace/v1, trace/v1 and common/v1).

Nearly all spans of ENABLE_OTEL belong to SQL statements and Redis commands: the name of their scope is enough to drop
them. Of the other spans only the wanted attributes are decoded; prompts are skipped without a copy. A library would
build an object of each value first: of a hostile body of 64 MiB, more than a gigabyte.

`MAX_FIELDS` bounds the time: Dify's largest requests (512 spans, 10 % of them its own) have about 10,000 fields.
"""

import struct
from collections.abc import Iterator
from typing import Any

from parsers.tracing.reading import MAX_DEPTH, MAX_ITEMS, TooManyItems, UnreadableBody
from parsers.tracing.span import ATTRIBUTES, EVENT_ATTRIBUTES, RESOURCE_ATTRIBUTES, Event, Scope, Span

#: The largest number of fields that are looked at in one request.
MAX_FIELDS = 1_000_000
#: The number of events of a span that are read.
_MAX_EVENTS = 128

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: Where the value of a field begins and ends in the body.
Range = tuple[int, int]
_NOTHING = (0, 0)


class Message:
    """The bytes of one request. It counts the fields that were looked at."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._left = MAX_FIELDS

    def scopes(self) -> Iterator[Scope]:
        """Raises UnreadableBody and TooManyItems."""
        count = 0
        for number, _, resource_spans in self._fields((0, len(self._body))):
            if number != 1:
                continue
            resource = next((found for member, _, found in self._fields(resource_spans) if member == 1), _NOTHING)
            for member, _, found in self._fields(resource_spans):
                if member == 2:
                    scope = self._scope(found, resource)
                    count += max(1, scope.size)
                    if count > MAX_ITEMS:
                        raise TooManyItems(f"the request has more than {MAX_ITEMS} spans")
                    yield scope

    def _scope(self, inside: Range, resource: Range) -> Scope:
        name, spans = "", list[Range]()
        for number, _, found in self._fields(inside):
            if number == 1:
                name = next((self._text(value) for member, _, value in self._fields(found) if member == 1), "")
            elif number == 2 and len(spans) <= MAX_ITEMS:
                spans.append(found)
        return Scope(name, len(spans), self._spans(name, spans, resource))

    def _spans(self, scope: str, spans: list[Range], resource: Range) -> Iterator[Span]:
        attributes: dict[str, Any] = {}
        for number, _, found in self._fields(resource):
            if number == 1:
                self._add_attribute(attributes, found, RESOURCE_ATTRIBUTES)
        for found in spans:
            yield self._span(found, scope, attributes)

    def _span(self, inside: Range, scope: str, resource: dict[str, Any]) -> Span:
        first: dict[int, Range] = {}
        attributes: dict[str, Any] = {}
        events = list[Event]()
        for number, _, found in self._fields(inside):
            if number == 9:
                self._add_attribute(attributes, found, ATTRIBUTES)
            elif number == 11 and len(events) < _MAX_EVENTS:
                events.append(self._event(found))
            else:
                first.setdefault(number, found)
        status = {number: found for number, _, found in self._fields(first.get(15, _NOTHING))}
        return Span(
            self._id(first.get(1, _NOTHING), 16),
            self._id(first.get(2, _NOTHING), 8),
            self._id(first.get(4, _NOTHING), 8),
            self._text(first.get(5, _NOTHING)),
            self._number(first.get(7, _NOTHING)),
            self._number(first.get(8, _NOTHING)),
            attributes,
            resource,
            scope,
            self._body[slice(*status.get(3, _NOTHING))] == b"\2",
            self._text(status.get(2, _NOTHING)),
            tuple(events),
        )

    def _event(self, inside: Range) -> Event:
        name = ""
        attributes: dict[str, Any] = {}
        for number, _, found in self._fields(inside):
            if number == 2:
                name = self._text(found)
            elif number == 3:
                self._add_attribute(attributes, found, EVENT_ATTRIBUTES)
        return Event(name, attributes)

    def _add_attribute(self, attributes: dict[str, Any], pair: Range, wanted: frozenset[str]) -> None:
        """Add an attribute if it is wanted. Of a repeated one the first counts. The depth of all is checked."""
        key, value = self._pair(pair)
        if key in wanted and key not in attributes:
            attributes[key] = self._value(value)
        elif value[0] < value[1] and self._body[value[0]] in (0x2A, 0x32):  # the tags of lists and maps
            self._value(value)

    def _pair(self, inside: Range) -> tuple[str, Range]:
        members = {number: value for number, _, value in self._fields(inside)}
        return self._text(members.get(1, _NOTHING)), members.get(2, _NOTHING)

    def _value(self, inside: Range, depth: int = 1) -> Any:
        """Return a text, truth value, number or map; None for a list, for bytes, and where there is no value."""
        for number, kind, found in self._fields(inside):
            if number == 1 and kind == _BYTES:
                return self._text(found)
            if number in (2, 3) and kind == _VARINT:
                whole = self._varint(*found)[0]
                return bool(whole) if number == 2 else whole - (whole >> 63 << 64)
            if number == 4 and kind == _FIXED64:
                return struct.unpack("<d", self._body[slice(*found)])[0]
            if number in (5, 6) and kind == _BYTES:
                if depth > MAX_DEPTH:
                    raise TooManyItems(f"an attribute is nested deeper than {MAX_DEPTH} levels")
                members = [member for _, _, member in self._fields(found)]
                if number == 6:
                    return {key: self._value(value, depth + 1) for key, value in map(self._pair, members)}
                for member in members:
                    self._value(member, depth + 1)
        return None

    def _fields(self, inside: Range) -> Iterator[tuple[int, int, Range]]:
        """Return number, wire type and the range of the value of each field."""
        at, end = inside
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise TooManyItems(f"the request has more than {MAX_FIELDS} fields")
            tag, at = self._varint(at, end)
            kind, begin = tag & 7, at
            if kind == _BYTES:
                length, begin = self._varint(at, end)
                at = begin + length
            elif kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                raise UnreadableBody("the protobuf message has a field of an unknown type")
            if at > end:
                raise UnreadableBody("the protobuf message ends inside a field")
            yield tag >> 3, kind, (begin, at)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        body = self._body
        value = shift = 0
        while at < end and shift < 70:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
        raise UnreadableBody("the protobuf message ends inside a number")

    def _text(self, found: Range) -> str:
        return self._body[slice(*found)].decode("utf-8", "replace")

    def _id(self, found: Range, length: int) -> str:
        """Return an id in hexadecimal; "" for one of another length or of zeros only, as OTLP demands."""
        value = self._body[slice(*found)]
        return value.hex() if len(value) == length and any(value) else ""

    def _number(self, found: Range) -> int:
        return int.from_bytes(self._body[slice(*found)], "little") if found[1] - found[0] == 8 else 0
