"""Read the access lines of a whole block at once, in the formats of the plugin daemon from version 0.5.3 on.

Any other line, or a line that is not exactly as expected, is left to `parsers.plugin_daemon`. A test checks that both
give the same result.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from parsers import blocks
from parsers.batch import Invocation
from parsers.blocks import BlockResult
from parsers.lines import whole_lines
from parsers.plugin_daemon.operations import operation_of
from parsers.values.http import status_code_of
from parsers.values.numbers import MAX_SECONDS, MILLISECOND, many_nanoseconds
from parsers.values.patterns import lazy
from parsers.values.times import iso

#: A text that each of these lines contains.
_SIGN, _JSON_SIGN = b" HTTP request ", b'"HTTP request"'

#: The time, the path without its query, the status code and the milliseconds; the last group is any other line. The
#: attributes have any order, and the last one of a name counts. A value that is quoted makes it another line.
_LINES = lazy(
    rb"^([0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9}+)?)Z [A-Z]++ dify-plugin-daemon [\w./-]++:[0-9]++ "
    rb'(?:(?:trace_id|tenant_id|user_id)=[^ "\n\x1b]*+ )*HTTP request'
    rb'(?: (?:path=([^ "?\r\n\x1b]*+)[^ "\r\n\x1b]*+|status=([0-9]{3})(?=[ \r\n]|\Z)'
    rb"|latency_ms=([0-9]{1,9}+(?:\.[0-9]{1,9}+)?)(?=[ \r\n]|\Z)"
    rb'|(?!path=|status=|latency_ms=)\w++=[^ "\r\n\x1b]*+))+'
    rb"(?(2)(?(3)(?(4)|(?!))|(?!))|(?!))\r?$|^(.+)$",
    re.MULTILINE,
)
#: Times of JSON lines, without their last Z.
_TIMES = lazy(rb"(?:[0-9-]{10}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9}+)?\n)*")
_MINUTE = len("2026-11-23T08:53")


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


def text(block: bytes) -> BlockResult:
    """Read the access lines in text of a block of whole lines."""
    found = _LINES.findall(block) if _SIGN in block else []
    rows = [row for row in found if not row[-1]]
    times = _ends([row[0] for row in rows])
    if not times:
        return BlockResult((), (), 0, block)
    groups = defaultdict[tuple[bytes, bytes], list[bytes]](list)
    for _, path, status, milliseconds, _ in rows:
        groups[path, status].append(milliseconds)
    durations = {key: many_nanoseconds(texts, MILLISECOND) for key, texts in groups.items()}
    others = b"".join([row[-1] + b"\n" for row in found if row[-1]])
    rest = others + b"\n" * (whole_lines(block, True)[1] - len(found))
    return BlockResult(_calls(durations), times, len(rows), rest)


def json(block: bytes) -> BlockResult:
    """Read the access lines in JSON of a block of whole lines."""
    groups = defaultdict[tuple[bytes, bytes], list[int]](list)
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
        for line in known:
            each = line.attributes
            key = each.path.partition("?")[0].encode(), b"%d" % each.status
            groups[key].append(round(each.latency_ms * MILLISECOND))
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


def _calls(groups: Mapping[tuple[bytes, bytes], Sequence[int]]) -> Sequence[Invocation]:
    """Return the calls of models and tools. `groups` are durations by path and status."""
    calls = defaultdict[tuple[str, str], list[int]](list)
    for (path, status), durations in groups.items():
        if (operation := operation_of(path)) is not None:
            calls[operation, status_code_of(status)] += durations
    return [invocation(*labels, durations) for labels, durations in calls.items()]


def invocation(operation: str, status_code: str, durations: Sequence[int]) -> Invocation:
    """Return the record of calls that took so many nanoseconds."""
    if len(durations) == 1:
        return Invocation(operation, status_code, durations[0])
    return Invocation(operation, status_code, None, len(durations), tuple(durations))
