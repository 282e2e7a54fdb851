"""The part of a log that a replay counts, and the boundaries at which it is cut."""

from datetime import UTC

from msgspec import Struct

from exporter.ledger.calendar import Spans
from parsers.slices import SpanOf

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
