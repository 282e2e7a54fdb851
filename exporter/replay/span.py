"""The part of a log that a replay counts, and the boundaries at which it is cut."""

from msgspec import Struct

from parsers.slices import SpanOf

#: Before and behind every time.
_ALWAYS = -(2**63), 2**63


class Span(Struct, frozen=True):
    """The event times that count, in nanoseconds since the epoch: [since, until).

    With `calendar`, a log is also cut at the boundaries of the calendar's spans.
    """

    since: int | None = None
    until: int | None = None
    calendar: SpanOf | None = None

    def holds(self, at: int | None) -> bool:
        """Whether a time counts. Lines before the first time count too: they have none."""
        if at is None:
            return True
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    @property
    def boundaries(self) -> SpanOf | None:
        """The spans between all boundaries; None if there is no boundary."""
        return None if self == ALWAYS else self._between

    def _between(self, at: int) -> tuple[int, int]:
        begin, end = _ALWAYS if self.calendar is None else self.calendar(at)
        for boundary in (self.since, self.until):
            if boundary is not None:
                begin, end = (begin, min(end, boundary)) if at < boundary else (max(begin, boundary), end)
        return begin, end


#: All event times count, and nothing is cut.
ALWAYS = Span()
