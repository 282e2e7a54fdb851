"""Runs that have begun and not ended: the bounded waiting room of joins on a trace id."""

from collections.abc import Iterator

from exporter.ledger.change_tracker import ChangeTracker
from parsers.batch import Closed, Opened

_DAY = 24 * 3600 * 1_000_000_000


class Joins:
    """Of one source, in the order of arrival. What leaves unanswered is given back to be counted as lost."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.waiting: ChangeTracker[str, Opened] = ChangeTracker()

    def open(self, opened: Opened) -> Iterator[Opened]:
        """Lets a run wait; gives those that had to make room. A retry of the same task waits anew."""
        self.waiting.pop(opened.trace_id, None)
        self.waiting[opened.trace_id] = opened
        while len(self.waiting) > self.capacity:
            yield self.waiting.pop(next(iter(self.waiting)))

    def close(self, closed: Closed) -> Opened | None:
        """The run that ended, None where its beginning was never seen."""
        return self.waiting.pop(closed.trace_id, None)

    def expire(self, now: int) -> Iterator[Opened]:
        """Gives the runs that began more than a day of event time before `now` (nanoseconds)."""
        while self.waiting:
            first = next(iter(self.waiting.values()))
            if first.at is None or first.at > now - _DAY:
                return
            yield self.waiting.pop(first.trace_id)
