"""Read the access lines of a whole block at once, in Dify's text format and in JSON.

Nearly every line of an api that logs requests is an access line. Any other line, or a line that is not exactly as
expected, is left to the reader of single lines. A test checks that both give the same result.
"""

import re
from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from parsers.access import roles
from parsers.access.format import REGULAR, Format
from parsers.access.roles import Roles
from parsers.access.routes import Routes
from parsers.access.rows import AccessReader, Row
from parsers.batch import Accepted, Record
from parsers.dify.block import (
    BlockResult,
    TimedLine,
    by_quarter,
    decode_lines,
    newest_of,
    newest_of_texts,
    parts_of,
)
from parsers.dify.runs import failure_of_stream
from parsers.lines import whole_lines
from parsers.values import json as lenient_json
from parsers.values.numbers import MILLISECOND
from parsers.values.times import zone

_REQUEST = rb"([!-~]++ /[^ \t\n\r\f\v?#%\\\x1b]*+) ([0-9]{3}) ([0-9]{1,6}+\.[0-9]{1,9}+)(?: [0-9A-Za-z-]*+)?"
#: The pattern does not check the digits of the time, which would take a third of the search: all times are checked at
#: once later. Only a line that can be a POST request captures its trace id, because each captured text takes time.
_LINE = (
    rb"^(.{10} .{6}[0-5][0-9]\.[0-9]{3}) INFO \[[^\]\n\x1b]*+\] \[ext_request_logging\.py:[0-9]++\] "
    rb"(?:(?=.{35}P)([0-9a-f]{32})|[0-9a-f]{8,32}+(?! - P))? - " + _REQUEST + rb"\r?$"
)
#: One match per line, with the groups of `_LINE`, all empty for a line that is no access line. The group of the time
#: contains the first letter of a POST request, and the group of the trace id is empty: those requests that need their
#: time and trace id get them later.
_MESSAGES = re.compile(rb"^(?:(?=(P)))?()" + _REQUEST + rb"$|^.*$", re.MULTILINE)

_CALLER = "ext_request_logging.py:"
#: Texts that every access line contains. A block without them is not searched by pattern.
_SIGN = b" [ext_request_logging.py:"
_JSON_SIGN = b'"ext_request_logging.py:'
_COLUMNS = {roles.REQUEST + REGULAR: 2, roles.STATUS: 3, roles.HANDLER: 4}


class _AccessLine(TimedLine, frozen=True, gc=False):
    severity: Literal["INFO"]
    caller: str
    message: str
    attributes: None = None


class _TracedLine(Struct, frozen=True, gc=False):
    trace_id: Annotated[str, Meta(max_length=64)] = ""


class _TraceIdLine(Struct, frozen=True, gc=False):
    trace_id: Any = ""


_decode = msgspec.json.Decoder(_AccessLine).decode
_decode_traced = msgspec.json.Decoder(_TracedLine).decode
_decode_trace_id = lenient_json.decoder(_TraceIdLine)


_P, _HEAD, _LAST = itemgetter(0), itemgetter(2), itemgetter(-1)


class DifyAccessReader:
    """Reads the access lines of a block. It keeps the routes and no other state."""

    def __init__(self, routes: Routes, timezone: str) -> None:
        line, every = re.compile(_LINE, re.MULTILINE), re.compile(_LINE + rb"|^(.+)$", re.MULTILINE)
        format = Format((), "", line, every, ("time", "trace_id", *_COLUMNS), (), 0)
        self._routes, self._timezone = routes, timezone
        accepted = [each for each in routes.templates if failure_of_stream(routes, "POST", each, "200")]
        self._endings = tuple({re.split(r"}|(?=/)", template)[-1].encode() for template in accepted})
        self._access = AccessReader(
            format, Roles(_COLUMNS, MILLISECOND, decimals=True), routes, zone(timezone), lambda head: head
        )

    def text(self, block: bytes) -> BlockResult:
        """Read the access lines in text from a block of whole lines."""
        rows = self._access.format.every.findall(block) if _SIGN in block else []
        regular, others = rows, list[bytes]()
        if any(map(_LAST, rows)):
            regular, others = [row for row in rows if not row[-1]], [row[-1] + b"\n" for row in rows if row[-1]]
        newest = newest_of_texts([row[0] for row in regular], self._access.local)
        if newest is None:
            return BlockResult((), None, 0, block)
        empty = whole_lines(block, True)[1] - len(rows)
        records = self._records(regular, self._timezone)
        return BlockResult(records, newest, len(regular), b"".join(others) + b"\n" * empty)

    def json(self, block: bytes) -> BlockResult:
        """Read the access lines in JSON from a block of whole lines."""
        rows, times, lines, rest = list[Row](), list[str](), 0, list[bytes]()
        for raws in parts_of(block, _JSON_SIGN):
            found, read_lines = decode_lines(raws, _decode), list[_AccessLine]()
            known = [line for line in found if line is not None] if None in found else cast(list[_AccessLine], found)
            for quarter, newest, members in by_quarter(known):
                if quarter is not None:
                    regular, matches = _regular(members)
                    read_lines += regular
                    own = raws if len(regular) == len(raws) else _raws_of(regular, found, raws)
                    rows += self._traced(regular, matches, own)
                    times += [newest] if len(regular) == len(members) else [line.ts for line in regular]
            lines += len(raws)
            if len(read_lines) < len(raws):
                read = set(map(id, read_lines))
                rest += [raw for raw, line in zip(raws, found, strict=True) if id(line) not in read]
        if not rows:
            return BlockResult((), None, 0, block)
        records = self._records(rows, "UTC")
        return BlockResult(records, newest_of(times), lines - len(rest), b"".join(rest))

    def _records(self, rows: Sequence[Row], timezone: str) -> tuple[Record, ...]:
        """Return all records of the rows. `timezone` is the zone of their times.

        The groups are freed when this function returns, before the rows: memory that is freed in another order than
        that of the lines is slower to use again.
        """
        groups = self._access.groups(rows)
        accepted = list[Accepted]()
        for labels, group in groups.items():
            failure = failure_of_stream(self._routes, *labels)
            if failure and (traces := _traces_of(group)):
                accepted.append(Accepted(labels[1], failure, *traces, timezone))
        return (*self._access.requests(groups), *accepted)

    def _traced(self, lines: Sequence[_AccessLine], rows: list[Row], raws: Sequence[bytes]) -> list[Row]:
        """Add the times and the trace ids to those rows that may be accepted requests. Only their ids are decoded."""
        numbers = [
            number
            for number in compress(range(len(rows)), map(_P, rows))
            if rows[number][3] == b"200" and rows[number][2].endswith(self._endings)
        ]
        for number, trace_id in zip(numbers, _trace_ids_of([raws[number] for number in numbers]), strict=True):
            rows[number] = (lines[number].ts.encode(), trace_id, *rows[number][2:])
        return rows


def _regular(lines: Sequence[_AccessLine]) -> tuple[Sequence[_AccessLine], list[Row]]:
    """Return the access lines among these lines, and the match of each."""
    text = "\n".join([line.message for line in lines])
    if text.count("\n") >= len(lines) or not all(map(_is_access, {line.caller for line in lines})):
        lines = [line for line in lines if _is_access(line.caller) and "\n" not in line.message]
        text = "\n".join([line.message for line in lines])
    matches = _MESSAGES.findall(text.encode()) if lines else []
    if not all(map(_HEAD, matches)):
        lines = [line for line, match in zip(lines, matches, strict=True) if match[2]]
        matches = [match for match in matches if match[2]]
    return lines, matches


def _raws_of(lines: Sequence[_AccessLine], found: Sequence[_AccessLine | None], raws: Sequence[bytes]) -> list[bytes]:
    """Return the raw bytes of these lines, which are some of those in `found`."""
    known = set(map(id, lines))
    return [raw for raw, line in zip(raws, found, strict=True) if id(line) in known]


def _trace_ids_of(raws: Sequence[bytes]) -> list[bytes]:
    """Return the trace id of each line; b"" for a line without a valid one."""
    try:
        trace_ids = "\n".join([line.trace_id for line in map(_decode_traced, raws)]).encode().split(b"\n")
    except (ValueError, RecursionError):  # one of them is not a text, or too long
        return list(map(_trace_id_of, raws))
    return trace_ids if len(trace_ids) == len(raws) else list(map(_trace_id_of, raws))


def _trace_id_of(raw: bytes) -> bytes:
    """Return the trace id of a line, b"" if it has no valid one."""
    try:
        trace_id = _decode_trace_id(raw).trace_id
    except (ValueError, RecursionError):
        return b""
    return trace_id[:64].encode() if isinstance(trace_id, str) and "\n" not in trace_id[:64] else b""


def _traces_of(rows: Sequence[Row]) -> tuple[str, str] | None:
    """Return the trace ids and the times of rows, one per line of text; None if no row has a trace id."""
    trace_ids = [row[1] for row in rows]
    if b"" in trace_ids:
        rows = [row for row in rows if row[1]]
        trace_ids = [row[1] for row in rows]
    return (b"\n".join(trace_ids).decode(), b"\n".join([row[0] for row in rows]).decode()) if rows else None


def _is_access(caller: str) -> bool:
    return caller.startswith(_CALLER)
