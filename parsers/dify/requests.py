"""Access lines of a whole block at once, in Dify's text format and in JSON: nearly every line of an api that logs
requests.

A line that is anything else, or not exactly as expected, is left to the plain way; a test holds that both give the
same.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Literal

import msgspec

from parsers.access import rows as access
from parsers.access.format import REGULAR, Format
from parsers.access.routes import Routes
from parsers.access.rows import Access, Labels, Roles, Row
from parsers.batch import Accepted, Record
from parsers.dify.block import Found, Line, by_quarter, decoded, newest_of, parts_of
from parsers.dify.runs import failure_of_stream
from parsers.lines import whole_lines
from parsers.values.numbers import MILLISECOND
from parsers.values.times import iso, zone

_REQUEST = rb"([!-~]++ /[^ \t\n\r\f\v?#%\\\x1b]*+) ([0-9]{3}) ([0-9]{1,6}+\.[0-9]{1,9}+)(?: [0-9A-Za-z-]*+)?"
#: Its time is looked at again, minute by minute: to find each digit's place costs a third of the whole search.
#: The time and the trace id are one group, because few lines need the trace id and each group of all lines costs.
_LINE = (
    rb"^(.{10} .{6}[0-5][0-9]\.[0-9]{3} INFO \[[^\]\n\x1b]*+\] \[ext_request_logging\.py:[0-9]++\] "
    rb"(?:[0-9a-f]{8,32}+)?) - " + _REQUEST + rb"\r?$"
)
#: One match a line: the place of a time, and what an access line is; or nothing of it.
_MESSAGES = re.compile(rb"^()" + _REQUEST + rb"$|^.*$", re.MULTILINE)
_TO_SECONDS = len("2026-11-23 08:53:")
_TIME = len("2026-11-23 08:53:08.820")
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
    trace_id: str = ""
    attributes: None = None


_decode = msgspec.json.Decoder(_Line).decode

#: Method and path, time and trace id of a POST request that was answered with status 200.
_Post = tuple[bytes, str, str]
_P = ord("P")
_UTC = zone("UTC")


class Requests:
    """Reads the access lines of a block; holds the routes and nothing else."""

    def __init__(self, routes: Routes, local: tzinfo) -> None:
        line, every = re.compile(_LINE, re.MULTILINE), re.compile(_LINE + rb"|^(.+)$", re.MULTILINE)
        format = Format((), "", line, every, ("time", *_COLUMNS), (), 0)
        self._routes = routes
        self._access = Access(format, Roles(_COLUMNS, MILLISECOND, decimals=True), routes, local, lambda head: head)

    def text(self, block: bytes) -> Found:
        """Those in text, among whole lines."""
        rows = self._access.format.every.findall(block) if _SIGN in block else []
        regular = [row for row in rows if not row[-1]]
        newest = _newest([row[0][:_TIME] for row in regular])
        if not newest or not all(map(_MINUTE.match, newest)):
            return Found((), None, 0, block)
        times = [at for at in (iso(time, self._access.local) for time in newest) if at is not None]
        empty = whole_lines(block, True)[1] - len(rows)
        rest = b"".join([row[-1] + b"\n" for row in rows if row[-1]]) + b"\n" * empty
        groups = self._access.groups(regular)
        accepted = tuple(
            Accepted(labels[1], failure, requests)
            for labels, failure in self._failures(groups)
            if (requests := _traced(map(_time_and_trace, groups[labels]), self._access.local))
        )
        return Found((*self._access.requests(groups), *accepted), max(times, default=None), len(regular), rest)

    def json(self, block: bytes) -> Found:
        """Those in JSON."""
        rows, times, lines, rest = list[tuple[bytes, ...]](), list[str](), 0, list[bytes]()
        posts = list[_Post]()
        for raws in parts_of(block, _JSON_SIGN):
            found, taken = decoded(raws, _decode), list[_Line]()
            for quarter, _, members in by_quarter([line for line in found if line is not None]):
                if quarter is not None:
                    regular, matches, answered = _regular(members)
                    taken += regular
                    rows += matches
                    posts += answered
            times += [max([line.ts for line in taken])] if taken else []
            lines += len(raws)
            if len(taken) < len(raws):
                known = set(map(id, taken))
                rest += [raw for raw, line in zip(raws, found, strict=True) if id(line) not in known]
        if not rows:
            return Found((), None, 0, block)
        groups = self._access.groups(rows)
        records: tuple[Record, ...] = (*self._access.requests(groups), *self._accepted(groups, posts))
        return Found(records, newest_of(times), lines - len(rest), b"".join(rest))

    def _failures(self, groups: Iterable[Labels]) -> Iterator[tuple[Labels, str]]:
        """The labels whose requests an error record can still make failures, and the reason of these failures."""
        for labels in groups:
            if failure := failure_of_stream(self._routes, *labels):
                yield labels, failure

    def _accepted(self, groups: Mapping[Labels, Sequence[Row]], posts: Sequence[_Post]) -> Iterator[Accepted]:
        """The accepted requests among answered POST requests."""
        for labels, failure in self._failures(groups):
            heads = {row[1] for row in groups[labels]}
            if requests := _traced([post[1:] for post in posts if post[0] in heads], _UTC):
                yield Accepted(labels[1], failure, requests)


def _regular(lines: Sequence[_Line]) -> tuple[Sequence[_Line], list[tuple[bytes, ...]], list[_Post]]:
    """The access lines among lines, what each says, and those of answered POST requests that have a trace id."""
    text = "\n".join([line.message for line in lines])
    if text.count("\n") >= len(lines) or not all(map(_is_access, {line.caller for line in lines})):
        lines = [line for line in lines if _is_access(line.caller) and "\n" not in line.message]
        text = "\n".join([line.message for line in lines])
    matches = _MESSAGES.findall(text.encode()) if lines else []
    if b"" in [match[1] for match in matches]:
        lines = [line for line, match in zip(lines, matches, strict=True) if match[1]]
        matches = [match for match in matches if match[1]]
    answered = [number for number, (_, head, status, _) in enumerate(matches) if status == b"200" and head[0] == _P]
    posts = [(matches[number][1], lines[number].ts, lines[number].trace_id[:64]) for number in answered]
    return lines, matches, posts


def _time_and_trace(row: Row) -> tuple[str, str]:
    """As written, of a row in text."""
    head = row[0].decode("latin-1")
    return head[:_TIME], head[head.rfind(" ") + 1 :]


def _traced(texts: Iterable[tuple[str, str]], local: tzinfo) -> tuple[tuple[str, int], ...]:
    """The trace id and the time in nanoseconds of each pair of a time as written and a trace id, where both exist."""
    minutes, traced = dict[str, int | None](), list[tuple[str, int]]()
    for time, trace_id in texts:
        minute = time[:_TO_SECONDS]
        if minute not in minutes:
            minutes[minute] = iso(f"{minute}00".encode(), local)
        begun = minutes[minute]
        if trace_id and begun is not None:
            milliseconds = int(time[_TO_SECONDS : _TO_SECONDS + 2] + time[_TO_SECONDS + 3 : _TIME])
            traced.append((trace_id, begun + milliseconds * MILLISECOND))
    return tuple(traced)


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
