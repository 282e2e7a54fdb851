"""Read the lines of our proxy: those of a whole block at once, or a single line.

Both ways check the numbers of a line and then add it to the same sums. The lines of a block are decoded by strict
types; a line that is not exactly as expected is left to the reader of single lines. There a wrong number is dropped,
and the rest of its line counts. A test checks that both give the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, defstruct, structs

from parsers.access.routes import Routes
from parsers.batch import Active, Record
from parsers.blocks import BlockResult, TimedLine, read_lines, time_of
from parsers.dify.proxy import REQUEST_EVENT, ProxyAttributes, UsageEntry
from parsers.dify.proxy_sums import ProxySums
from parsers.dify.telemetry import Price, Seconds, TokenCount
from parsers.dropped import dropped
from parsers.values import json as lenient_json
from parsers.values.numbers import MAX_COUNT, seconds, token_count

#: A text that each of these lines contains.
EVENT = b'"dify.proxy.'

_read_attributes = lenient_json.reader(ProxyAttributes)
_read_members = lenient_json.reader(dict[str, Any])


#: The numbers of a line that count: the conversion of a value of any type, and the field of its DroppedValue.
_NUMBERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "status_code": (token_count, "status_code"),
    "duration": (seconds, "duration"),
    "time_to_first_byte": (seconds, "first_byte"),
    "response_size": (token_count, "bytes"),
    "time_to_first_token": (seconds, "first_token"),
    "active_requests": (token_count, ""),
    "dropped_lines": (token_count, ""),
}


def _strict(struct: type[Struct], **types: object) -> type[Any]:
    """Return a struct in which these fields have these types."""
    fields = [
        (each.name, types[each.name], msgspec.field(default=each.default, name=each.encode_name))
        for each in structs.fields(struct)
        if each.name in types
    ]
    return defstruct(f"_Strict{struct.__name__}", fields, bases=(struct,), frozen=True, gc=False, kw_only=True)


_TYPES: Mapping[object, object] = {token_count: TokenCount, seconds: Seconds}
_StrictEntry = _strict(
    UsageEntry, input_tokens=TokenCount, output_tokens=TokenCount, total_tokens=TokenCount, total_price=Price
)
_strict_types: dict[str, object] = {name: _TYPES[convert] for name, (convert, _) in _NUMBERS.items()} | {
    "event": Literal["dify.proxy.request", "dify.proxy.heartbeat"],
    "usage": tuple[_StrictEntry, ...],  # type: ignore[valid-type]
    "worker": Annotated[str, Meta(min_length=1)],
    "active_requests": Annotated[int, Meta(ge=0, le=MAX_COUNT)],
}
_StrictAttributes = _strict(ProxyAttributes, **_strict_types)


class _StrictLine(TimedLine, frozen=True, gc=False):
    service: Literal["dify-exporter-proxy"]
    message: str
    attributes: _StrictAttributes  # type: ignore[valid-type]


_decode_strictly: Callable[[bytes], Any] = msgspec.json.Decoder(_StrictLine).decode


class ProxyReader:
    """Keeps the routes and no other state."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def records(self, raw: bytes, at: int | None) -> Sequence[Record] | None:
        """Return the records of one line, from the JSON of its attributes; None if these are not those of the proxy.

        `at` is the time of the line, in nanoseconds since the epoch.
        """
        attributes = _attributes(raw)
        if attributes is None:
            return None
        checked, dropped_records = dict[str, Any](), list[Record]()
        for name, (convert, field) in _NUMBERS.items():
            value = getattr(attributes, name)
            checked[name] = number = convert(value)
            if field and attributes.event == REQUEST_EVENT:
                dropped_records += dropped(field, value, number)
        attributes = structs.replace(attributes, **checked)
        sums = ProxySums(self._routes, strict=False)
        sums.add((attributes,), at)
        active: list[Record] = []
        if attributes.worker and attributes.active_requests is not None:
            active.append(Active(attributes.worker[:64], attributes.active_requests, at))
        return [*active, *sums.records(), *dropped_records]

    def read(self, block: bytes) -> BlockResult:
        """Return the records of the regular lines of a block of whole lines."""
        sums, newest = ProxySums(self._routes, strict=True), dict[str, Any]()

        def take(lines: Sequence[Any], quarter: int) -> Sequence[Any]:
            sums.add([line.attributes for line in lines], quarter)
            for line in lines:
                worker = line.attributes.worker[:64]
                if worker not in newest or line.ts >= newest[worker].ts:
                    newest[worker] = line
            return lines

        result = read_lines(block, EVENT, _decode_strictly, take)
        active = [Active(worker, line.attributes.active_requests, time_of(line.ts)) for worker, line in newest.items()]
        return result._replace(records=(*active, *sums.records()))


def _attributes(raw: bytes) -> ProxyAttributes | None:
    """Decode attributes. A value of the wrong type is dropped."""
    if (attributes := _read_attributes(raw)) is not None:
        return attributes
    if (members := _read_members(raw)) is None:
        return None
    entries = members.get("dify.proxy.usage")
    if isinstance(entries, list):
        members["dify.proxy.usage"] = [_valid(entry, UsageEntry) for entry in entries if isinstance(entry, dict)]
    valid = _valid(members, ProxyAttributes)
    return msgspec.convert(valid, ProxyAttributes) if "dify.event.name" in valid else None


def _valid(members: dict[str, Any], struct: type[Struct]) -> dict[str, Any]:
    """Return the members whose values have the type of the struct's field."""
    types = {each.encode_name: each.type for each in structs.fields(struct)}
    return {name: value for name, value in members.items() if _has_type(value, types.get(name, Any))}


def _has_type(value: object, type: object) -> bool:
    try:
        msgspec.convert(value, type)
    except msgspec.ValidationError:
        return False
    return True
