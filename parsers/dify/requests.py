"""Read the access lines of a whole block at once, in Dify's text format and in JSON.

Nearly every line of an api that logs requests is an access line. Any other line, or a line that is not exactly as
expected, is left to the reader of single lines. A test checks that both give the same result.
"""

import re
from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from parsers.access import roles
from parsers.access.format import REGULAR, Format
from parsers.access.roles import Roles
from parsers.access.routes import Routes
from parsers.access.rows import AccessReader, Row
from parsers.batch import Accepted, Record
from parsers.blocks import BlockResult, TimedLine, read_lines, read_rows, times_of_texts
from parsers.dify.runs import failure_of_stream
from parsers.values.numbers import MILLISECOND
from parsers.values.patterns import lazy
from parsers.values.times import zone

_REQUEST = rb"([!-~]++ /[^ \t\n\r\f\v?#%\\\x1b]*+) ([0-9]{3}) ([0-9]{1,6}+\.[0-9]{1,9}+)(?: [0-9A-Za-z-]*+)?"
#: The pattern does not check the digits of the time, which would take a third of the search: all times are checked at
#: once later. Only a line that can be a POST request captures its trace id, because each captured text takes time.
_LINE = (
    rb"^(.{10} .{6}[0-5][0-9]\.[0-9]{3}) INFO \[[^\]\n\x1b]*+\] \[ext_request_logging\.py:[0-9]++\] "
    rb"(?:(?=.{35}P)([0-9a-f]{32})|[0-9a-f]{8,32}+(?! - P))? - " + _REQUEST + rb"\r?$"
)
#: One match per line, with the groups of `_LINE`, all empty for a line that is no access line. The group of the time
#: contains the first letter of a POST request, and the group of the trace id is empty. Requests that need their time
#: and trace id get them later.
_MESSAGES = lazy(rb"^(?:(?=(P)))?()" + _REQUEST + rb"$|^.*$", re.MULTILINE)

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
    trace_id: Annotated[str, Meta(max_length=64)] = ""


_decode = msgspec.json.Decoder(_AccessLine).decode

_P, _HEAD = itemgetter(0), itemgetter(2)


class DifyAccessReader:
    """Reads the access lines of a block. It keeps the routes and no other state."""

    def __init__(self, routes: Routes, timezone: str) -> None:
        line, every = lazy(_LINE, re.MULTILINE), lazy(_LINE + rb"|^(.+)$", re.MULTILINE)
        format = Format((), "", line, every, ("time", "trace_id", *_COLUMNS), (), 0)
        self._routes, self._timezone = routes, timezone
        accepted = [each for each in routes.templates if failure_of_stream(routes, "POST", each, "200")]
        self._endings = tuple({re.split(r"}|(?=/)", template)[-1].encode() for template in accepted})
        self._access = AccessReader(
            format, Roles(_COLUMNS, MILLISECOND, decimals=True), routes, zone(timezone), lambda head: head
        )

    def text(self, block: bytes) -> BlockResult:
        """Read the access lines in text from a block of whole lines."""
        if _SIGN not in block:
            return BlockResult((), (), 0, block)
        local = self._access.local
        rows, result = read_rows(block, self._access.format.every, lambda times: times_of_texts(times, local))
        return result._replace(records=self._records(rows, self._timezone)) if rows else result

    def json(self, block: bytes) -> BlockResult:
        """Read the access lines in JSON from a block of whole lines."""
        rows = list[Row]()

        def take(lines: Sequence[_AccessLine], _: int) -> Sequence[_AccessLine]:
            regular, matches = _regular(lines)
            rows.extend(self._traced(regular, matches))
            return regular

        result = read_lines(block, _JSON_SIGN, _decode, take)
        return result._replace(records=self._records(rows, "UTC"))

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

    def _traced(self, lines: Sequence[_AccessLine], rows: list[Row]) -> list[Row]:
        """Add the times and the trace ids to those rows that may be accepted requests."""
        for number in compress(range(len(rows)), map(_P, rows)):
            row, line = rows[number], lines[number]
            if row[3] == b"200" and row[2].endswith(self._endings):
                trace_id = line.trace_id if "\n" not in line.trace_id else ""
                rows[number] = (line.ts.encode(), trace_id.encode(), *row[2:])
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


def _traces_of(rows: Sequence[Row]) -> tuple[str, str] | None:
    """Return the trace ids and the times of rows, one per line of text; None if no row has a trace id."""
    trace_ids = [row[1] for row in rows]
    if b"" in trace_ids:
        rows = [row for row in rows if row[1]]
        trace_ids = [row[1] for row in rows]
    return (b"\n".join(trace_ids).decode(), b"\n".join([row[0] for row in rows]).decode()) if rows else None


def _is_access(caller: str) -> bool:
    return caller.startswith(_CALLER)
