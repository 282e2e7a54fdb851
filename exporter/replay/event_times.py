"""The event times of a log, the part of them that a replay counts, and the boundaries at which a log is cut."""

import re
from bisect import bisect_left
from datetime import UTC, datetime
from functools import cache

from msgspec import Struct

from exporter.ledger.calendar import Spans
from exporter.messages import counted
from exporter.replay.errors import parse_whole
from parsers.batch import Batch
from parsers.parser import Parser
from parsers.slices import BACK, MOST_DOUBTS, SpanOf
from parsers.values.numbers import SECOND
from parsers.values.times import newest_known, oldest_known


def first_time(parser: Parser, sample: bytes) -> int | None:
    """The time of the first line with a time in a sample, in nanoseconds since the epoch; None if no line has one.

    An exponential search and a bisection find the shortest beginning that has a time. If the first such line is line n,
    this takes O(log n) parses of at most 2 n lines. Raises ParserError.
    """
    ends = [newline.end() for newline in re.finditer(rb"\n", sample)] or [len(sample)]

    @cache
    def newest(lines: int) -> int | None:
        return parse_whole(parser, sample[: ends[lines - 1]]).last_at

    lines = 1
    while newest(lines) is None:
        if lines == len(ends):
            return None
        lines = min(2 * lines, len(ends))
    return newest(bisect_left(range(lines), True, max(1, lines // 2), key=lambda n: newest(n) is not None))


class EventTimes(Struct):
    """The first and last event times of a source, in nanoseconds since the epoch; None while no line had a time."""

    first: int | None = None
    last: int | None = None

    def begin(self, parser: Parser, sample: bytes) -> None:
        self.first = oldest_known((self.first, first_time(parser, sample)))

    def add(self, batch: Batch) -> None:
        self.last = newest_known((self.last, batch.last_at))
        self.first = oldest_known((self.first, batch.last_at))

    def __str__(self) -> str:
        if self.first is None or self.last is None:
            return "no event has a time"
        return f"events from {shown(self.first)} to {shown(self.last)}"


def ahead(source: str, lines: int) -> str:
    """The sentence about lines of a source whose time is implausible. Each one counts with the line before it."""
    return (
        f"source {source}: {counted(lines, 'line has', 'lines have')} an implausible time, more than a day ahead of "
        "the clock or of the times around it; counted with the line before"
    )


def behind(source: str, lines: int) -> str:
    """The sentence about lines of a source whose time is far behind the lines before them."""
    # A window with many of them is not searched to its end.
    found = counted(lines, "line has", "lines have") if lines <= MOST_DOUBTS else f"{lines:,} or more lines have"
    return (
        f"source {source}: {found} a time that is more than {BACK // SECOND // 3600} hours before the times around it; "
        "counted with the line before"
    )


def shown(at: int) -> str:
    """A time in nanoseconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at // SECOND, UTC).isoformat().replace("+00:00", "Z")


#: Spans are at most a day long, because a clock that jumps back is found within a span only if that is short.
_DAYS = Spans("day", UTC)


class Span(Struct, frozen=True):
    """The event times that count, in nanoseconds since the epoch: [since, until).

    A log is also cut at the boundaries of the calendar's spans: days, or shorter ones.
    """

    since: int | None = None
    until: int | None = None
    calendar: SpanOf | None = None

    def contains(self, at: int | None) -> bool:
        """Whether a time counts. Lines before the first time count too: they have none."""
        if at is None:
            return True
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    @property
    def boundaries(self) -> SpanOf | None:
        """The spans between all boundaries; None if there is no boundary."""
        return None if self == ALWAYS else self._between

    def _between(self, at: int) -> tuple[int, int]:
        begin, end = (self.calendar or _DAYS)(at)
        for boundary in (self.since, self.until):
            if boundary is not None:
                begin, end = (begin, min(end, boundary)) if at < boundary else (max(begin, boundary), end)
        return begin, end


#: All event times count, and nothing is cut.
ALWAYS = Span()
