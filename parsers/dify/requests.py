"""Access lines of a whole block at once, in Dify's text format and in JSON: nearly every line of an api that logs
requests.

A line that is anything else, or not exactly as expected, is left to the plain way; a test holds that both give the
same.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from datetime import tzinfo
from typing import Literal

import msgspec

from parsers.access import rows as access
from parsers.access.format import REGULAR, Format
from parsers.access.routes import Routes
from parsers.access.rows import Access, Roles
from parsers.dify.block import Found, Line, by_quarter, decoded, newest_of, parts_of
from parsers.lines import whole_lines
from parsers.values.numbers import MILLISECOND
from parsers.values.times import iso

_REQUEST = rb"([!-~]++ /[^ \t\n\r\f\v?#%\\\x1b]*+) ([0-9]{3}) ([0-9]{1,6}+\.[0-9]{1,9}+)(?: [0-9A-Za-z-]*+)?"
#: Its time is looked at again, minute by minute: to find each digit's place costs a third of the whole search.
_LINE = (
    rb"^(.{10} .{6}[0-5][0-9]\.[0-9]{3}) INFO \[[^\]\n\x1b]*+\] \[ext_request_logging\.py:[0-9]++\] "
    rb"(?:[0-9a-f]{8,32}+)? - " + _REQUEST + rb"\r?$"
)
#: One match a line: the place of a time, and what an access line is; or nothing of it.
_MESSAGES = re.compile(rb"^()" + _REQUEST + rb"$|^.*$", re.MULTILINE)
_TO_SECONDS = len("2026-11-23 08:53:")
_MINUTE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:[0-5]\d:")

_CALLER = "ext_request_logging.py:"
#: What every such line holds, so that a block without any is not searched by pattern.
_SIGN = b" [ext_request_logging.py:"
_JSON_SIGN = b'"ext_request_logging.py:'
_COLUMNS = {access.REQUEST + REGULAR: 1, access.STATUS: 2, access.HANDLER: 3}


class _Line(Line, frozen=True, gc=False):
    severity: Literal["INFO"]
    caller: str
    message: str
    attributes: None = None


_decode = msgspec.json.Decoder(_Line).decode


class Requests:
    """Reads the access lines of a block; holds the routes and nothing else."""

    def __init__(self, routes: Routes, local: tzinfo) -> None:
        line, every = re.compile(_LINE, re.MULTILINE), re.compile(_LINE + rb"|^(.+)$", re.MULTILINE)
        format = Format((), "", line, every, ("time", *_COLUMNS), (), 0)
        self._access = Access(format, Roles(_COLUMNS, MILLISECOND, decimals=True), routes, local, lambda head: head)

    def text(self, block: bytes) -> Found:
        """Those in text, among whole lines."""
        rows = self._access.format.every.findall(block) if _SIGN in block else []
        regular = [row for row in rows if not row[-1]]
        newest = _newest([row[0] for row in regular])
        if not newest or not all(map(_MINUTE.match, newest)):
            return Found((), None, 0, block)
        times = [at for at in (iso(time, self._access.local) for time in newest) if at is not None]
        empty = whole_lines(block, True)[1] - len(rows)
        rest = b"".join([row[-1] + b"\n" for row in rows if row[-1]]) + b"\n" * empty
        return Found(self._access.requests(regular), max(times, default=None), len(regular), rest)

    def json(self, block: bytes) -> Found:
        """Those in JSON."""
        rows, times, lines, rest = list[tuple[bytes, ...]](), list[str](), 0, list[bytes]()
        for raws in parts_of(block, _JSON_SIGN):
            found, taken = decoded(raws, _decode), list[_Line]()
            for quarter, _, members in by_quarter([line for line in found if line is not None]):
                if quarter is not None:
                    regular, matches = _regular(members)
                    taken += regular
                    rows += matches
            times += [max([line.ts for line in taken])] if taken else []
            lines += len(raws)
            if len(taken) < len(raws):
                known = set(map(id, taken))
                rest += [raw for raw, line in zip(raws, found, strict=True) if id(line) not in known]
        if not rows:
            return Found((), None, 0, block)
        return Found(self._access.requests(rows), newest_of(times), lines - len(rest), b"".join(rest))


def _regular(lines: Sequence[_Line]) -> tuple[Sequence[_Line], list[tuple[bytes, ...]]]:
    """The access lines among lines, and what each says."""
    text = "\n".join([line.message for line in lines])
    if text.count("\n") >= len(lines) or not all(map(_is_access, {line.caller for line in lines})):
        lines = [line for line in lines if _is_access(line.caller) and "\n" not in line.message]
        text = "\n".join([line.message for line in lines])
    matches = _MESSAGES.findall(text.encode()) if lines else []
    if b"" in [match[1] for match in matches]:
        lines = [line for line, match in zip(lines, matches, strict=True) if match[1]]
        matches = [match for match in matches if match[1]]
    return lines, matches


def _is_access(caller: str) -> bool:
    return caller.startswith(_CALLER)


def _newest(times: list[bytes]) -> list[bytes]:
    """The newest time of each minute: within one, the order of the texts is that of the times, in every zone."""
    newest, end = list[bytes](), 0
    times.sort()
    while end < len(times):
        end = bisect_left(times, times[end][:_TO_SECONDS] + b":", end)  # behind every digit
        newest.append(times[end - 1])
    return newest
