"""Read the access lines of a whole block at once: gin's lines, and the text and JSON lines from version 0.5.3 on.

Any other line, or a line that is not exactly as expected, is left to `parsers.plugin_daemon`. A test checks that both
give the same result.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from parsers import blocks
from parsers.batch import Invocation
from parsers.blocks import DIGITS, BlockResult, read_rows
from parsers.plugin_daemon.operations import operation_of, operation_of_end
from parsers.values.http import status_code_of
from parsers.values.numbers import MAX_SECONDS, MICROSECOND, MILLISECOND, SECOND, many_nanoseconds
from parsers.values.patterns import lazy
from parsers.values.times import iso

#: A text that each of these lines contains.
_GIN_SIGN, _SIGN, _JSON_SIGN = b"[GIN] ", b" HTTP request ", b'"HTTP request"'

#: The groups of both patterns: the time, the status code, the duration and its unit, the path without its query (of gin
#: only what is behind `dispatch`); the last group is any other line.
_GIN = lazy(
    rb"^\[GIN\] (.{10} - .{8}) \| *+([0-9]{3}) \| *+([0-9]{1,6}+(?:\.[0-9]{1,9}+)?)(ms|s|\xc2\xb5s) \| *+"
    rb'[^ |\n\x1b]*+ *+\| *+[^ "\n\x1b]++ ++"(?:/(?:plugin/[^/?"\\\n\x1b]++|v2/invoke)/dispatch(/[^?"\\\n\x1b]*+))?'
    rb'(?:"|[^"\\\n\x1b]*+")\r?$|^(.+)$',
    re.MULTILINE,
)
#: The attributes have any order, and the last one of a name counts. A value that is quoted makes it another line.
_TEXT = lazy(
    rb"^([0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9}+)?)Z [A-Z]++ dify-plugin-daemon [\w./-]++:[0-9]++ "
    rb'(?:(?:trace_id|tenant_id|user_id)=[^ "\n\x1b]*+ )*HTTP request'
    rb"(?: (?:status=([0-9]{3})(?=[ \r\n]|\Z)|latency_ms=([0-9]{1,9}+(?:\.[0-9]{1,9}+)?)()(?=[ \r\n]|\Z)"
    rb'|path=([^ "?\r\n\x1b]*+)[^ "\r\n\x1b]*+'
    rb'|(?!path=|status=|latency_ms=)\w++=[^ "\r\n\x1b]*+))+'
    rb"(?(2)(?(3)(?(5)|(?!))|(?!))|(?!))\r?$|^(.+)$",
    re.MULTILINE,
)
_UNITS = {b"s": SECOND, b"ms": MILLISECOND, b"\xc2\xb5s": MICROSECOND, b"": MILLISECOND}

_GIN_TIME = b"0000/00/00 - 00:00:00"
#: Times without their last Z, each with a newline.
_TIMES = lazy(rb"(?:[0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9}+)?\n)*")
_MINUTE = len("2026-11-23T08:53")

#: The operation (None for a path that calls no model and no tool), the status code, and the unit of the durations.
_Group = tuple[str | None, bytes, bytes]


class _Attributes(Struct, frozen=True, gc=False):
    path: str
    status: Annotated[int, Meta(ge=0)]
    latency_ms: Annotated[float, Meta(ge=0, le=MAX_SECONDS * 1000)]


class _Line(Struct, frozen=True, gc=False):
    ts: str
    severity: str
    message: Literal["HTTP request"]
    attributes: _Attributes
    service: Literal["dify-plugin-daemon"] = "dify-plugin-daemon"


_decode = msgspec.json.Decoder(_Line).decode


def gin(block: bytes, local: tzinfo) -> BlockResult:
    """Read gin's access lines of a block of whole lines. `local` is the zone of their times."""
    return _in_text(block, _GIN_SIGN, _GIN, lambda times: _ends_of_gin(times, local), operation_of_end)


def text(block: bytes) -> BlockResult:
    """Read the access lines in text of a block of whole lines."""
    return _in_text(block, _SIGN, _TEXT, _ends, operation_of)


def _in_text(
    block: bytes,
    sign: bytes,
    pattern: re.Pattern[bytes],
    ends: Callable[[Sequence[bytes]], Sequence[int | None]],
    operation: Callable[[bytes], str | None],
) -> BlockResult:
    if sign not in block:
        return BlockResult((), (), 0, block)
    rows, result = read_rows(block, pattern, ends)
    operations = {path: operation(path) for path in {row[4] for row in rows}}
    groups = defaultdict[_Group, list[bytes]](list)
    for _, status, number, unit, path, _ in rows:
        groups[operations[path], status, unit].append(number)
    return result._replace(records=_calls({key: many_nanoseconds(groups[key], _UNITS[key[2]]) for key in groups}))


def json(block: bytes) -> BlockResult:
    """Read the access lines in JSON of a block of whole lines."""
    groups = defaultdict[_Group, list[int]](list)
    times, lines, rest = list[int | None](), 0, list[bytes]()
    for raws in blocks.parts_of(block, _JSON_SIGN):
        found = blocks.decoded(raws, _decode)
        known = [line for line in found if line is not None]
        ends = _ends([line.ts.removesuffix("Z").encode() if line.ts.endswith("Z") else b"" for line in known])
        lines += len(raws)
        if not ends:
            rest += raws
            continue
        times += ends
        attributes = [line.attributes for line in known]
        operations = {
            path: operation_of(path.partition("?")[0].encode()) for path in {each.path for each in attributes}
        }
        for each in attributes:
            groups[operations[each.path], b"%d" % each.status, b""].append(round(each.latency_ms * MILLISECOND))
        rest += [raw for raw, line in zip(raws, found, strict=True) if line is None]
    if not lines:
        return BlockResult((), (), 0, block)
    return BlockResult(_calls(groups), times, lines - len(rest), b"".join(rest))


def _ends(times: Sequence[bytes]) -> Sequence[int | None]:
    """Return the oldest and newest of these times in UTC, in nanoseconds since the epoch.

    Nothing if any of them does not exist.
    """
    if not times or not _TIMES.fullmatch(b"\n".join([*times, b""])):
        return ()
    minutes = {time[:_MINUTE] for time in times}
    return () if None in [iso(minute, UTC) for minute in minutes] else (iso(min(times), UTC), iso(max(times), UTC))


def _ends_of_gin(times: Sequence[bytes], local: tzinfo) -> Sequence[int | None]:
    """Return the distinct times, which need not sort like texts; nothing if any of them does not exist."""
    if not (distinct := set(times)):
        return ()
    if b"".join(distinct).translate(DIGITS) != _GIN_TIME * len(distinct) or max(time[-2:] for time in distinct) > b"59":
        return ()
    found = [iso(time.replace(b" - ", b" "), local) for time in distinct]
    return () if None in found else found


def _calls(groups: Mapping[_Group, Sequence[int]]) -> Sequence[Invocation]:
    """Return the calls of models and tools. `groups` are durations in nanoseconds."""
    calls = defaultdict[tuple[str, str], list[int]](list)
    for (operation, status, _), durations in groups.items():
        if operation is not None:
            calls[operation, status_code_of(status)] += durations
    return [
        Invocation(*labels, durations[0])
        if not durations[1:]
        else Invocation(*labels, None, len(durations), (*durations,))
        for labels, durations in calls.items()
    ]
