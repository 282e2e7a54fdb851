"""Decode OTLP in JSON: lowerCamelCase, ids in hexadecimal, 64-bit integers as text or number."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from parsers.tracing.json_limits import LONGEST_REPAIRED, check_tokens
from parsers.tracing.reading import MAX_DEPTH, MAX_ITEMS, TooManyItems, UnreadableBody
from parsers.tracing.span import ATTRIBUTES, EVENT_ATTRIBUTES, RESOURCE_ATTRIBUTES, Event, Scope, Span
from parsers.values import json as lenient_json

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,32}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NOTHING = Raw(b"")


class _Value(Struct, frozen=True, gc=False, rename="camel"):
    string_value: Any = None
    int_value: Any = None
    double_value: Any = None
    bool_value: Any = None
    array_value: Raw = _NOTHING
    kvlist_value: Raw = _NOTHING


class _Pair(Struct, frozen=True, gc=False):
    key: str = ""
    value: _Value | None = None


class _Pairs(Struct, frozen=True, gc=False):
    """A map, a resource or an event."""

    values: list[_Pair] | None = None
    attributes: list[_Pair] | None = None
    name: str | None = None


class _Status(Struct, frozen=True, gc=False):
    code: Any = None
    message: Any = None


class _Span(Struct, frozen=True, gc=False, rename="camel"):
    trace_id: Any = None
    span_id: Any = None
    parent_span_id: Any = None
    name: Any = None
    start_time_unix_nano: Any = None
    end_time_unix_nano: Any = None
    attributes: list[_Pair] | None = None
    status: _Status | None = None
    events: list[_Pairs] | None = None


class _ScopeSpans(Struct, frozen=True, gc=False):
    scope: _Pairs | None = None
    spans: list[Raw] | None = None


class _ResourceSpans(Struct, frozen=True, gc=False, rename="camel"):
    resource: _Pairs | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Request(Struct, frozen=True, gc=False, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


_read_request = lenient_json.reader(_Request, LONGEST_REPAIRED)
_read_span = lenient_json.reader(_Span, LONGEST_REPAIRED)
_read_pairs = lenient_json.reader(_Pairs, LONGEST_REPAIRED)


def scopes(body: bytes) -> Iterator[Scope]:
    """Raises UnreadableBody and TooManyItems."""
    check_tokens(body)
    if (request := _read_request(body)) is None:
        raise UnreadableBody("the body is no JSON of an ExportTraceServiceRequest")
    count = 0
    for each in request.resource_spans or ():
        resource = _attributes(each.resource.attributes if each.resource else None, RESOURCE_ATTRIBUTES)
        for scope in each.scope_spans or ():
            name, spans = (scope.scope.name if scope.scope else None) or "", scope.spans or ()
            count += len(spans)
            if count > MAX_ITEMS:
                raise TooManyItems(f"the request has more than {MAX_ITEMS} spans")
            yield Scope(name, len(spans), map(partial(_span, name, resource), spans))


def _span(scope: str, resource: Mapping[str, Any], raw: Raw) -> Span:
    if (span := _read_span(raw)) is None:
        raise UnreadableBody("a span of the JSON body has values of a wrong type")
    status = span.status or _Status()
    return Span(
        _id(span.trace_id, 32),
        _id(span.span_id, 16),
        _id(span.parent_span_id, 16),
        span.name if isinstance(span.name, str) else "",
        _integer(span.start_time_unix_nano) or 0,
        _integer(span.end_time_unix_nano) or 0,
        _attributes(span.attributes, ATTRIBUTES),
        resource,
        scope,
        status.code in (2, "STATUS_CODE_ERROR"),
        status.message if isinstance(status.message, str) else "",
        tuple(Event(event.name or "", _attributes(event.attributes, EVENT_ATTRIBUTES)) for event in span.events or ()),
    )


def _id(value: object, length: int) -> str:
    """Return an id in hexadecimal; "" for one of another length or of zeros only, as OTLP demands."""
    is_id = isinstance(value, str) and len(value) == length and _HEXADECIMAL.fullmatch(value) and value.strip("0")
    return str(value).lower() if is_id else ""


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**64 else None
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def _attributes(pairs: Sequence[_Pair] | None, wanted: frozenset[str]) -> dict[str, Any]:
    """Return the values of the wanted attributes; of a repeated one the first."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        if pair.value is None:
            continue
        for nested in (pair.value.array_value, pair.value.kvlist_value):
            if nested:
                _check_depth(nested)
        if pair.key in wanted and pair.key not in found:
            found[pair.key] = _value(pair.value)
    return found


def _value(value: _Value) -> Any:
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        integer = _integer(value.int_value)
        return value.int_value if integer is None else integer
    if value.kvlist_value:
        if (pairs := _read_pairs(value.kvlist_value)) is None:
            return None
        return {pair.key: _value(pair.value) for pair in pairs.values or () if pair.value is not None}
    return value.bool_value if value.double_value is None else value.double_value


def _check_depth(nested: Raw) -> None:
    """Count the levels of lists and maps: in JSON, each has an object, a list and an object per level."""
    try:
        depth = _depth(msgspec.json.decode(nested))
    except (ValueError, RecursionError):
        raise UnreadableBody("an attribute of the JSON body cannot be decoded") from None
    if depth > MAX_DEPTH:
        raise TooManyItems(f"an attribute is nested deeper than {MAX_DEPTH} levels")


def _depth(value: object) -> int:
    """Return the number of nested lists."""
    if isinstance(value, dict):
        return max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
