"""Joins the usage of a workflow's node to the app of the span above it, in bounded memory.

The spans of a trace are nested: a node is inside the span of its run, and only that span names the app. A node inside
an iteration is below the iteration, and below a workflow that is used as a tool there is a further run with an app of
its own. So the app is looked up along the parents, never by the trace. The line of a parent comes earlier or later than
that of the node; it may also never come.
"""

from collections.abc import Iterator

from msgspec import Struct, structs

from exporter.ledger.change_tracker import ChangeTracker, evicted
from parsers.batch import UNKNOWN, FirstToken, SpanApp, Usage, UsageMissing

#: The largest number of parents along which an app is looked up.
_MAX_PARENTS = 32

AppRecord = Usage | FirstToken | UsageMissing


class Waiting(Struct, frozen=True):
    """Records that wait for the app of one span. `at` is the time of the first one, in nanoseconds."""

    at: int
    records: tuple[AppRecord, ...]


class SpanApps:
    """The spans of one source.

    `known` holds what is known of spans, `waiting` the records that wait, by the span they wait for. Each has at most
    as many entries (`waiting`: records) as the capacity after `trim`; the oldest ones leave first. The methods return
    the records whose app is decided: it is UNKNOWN if the line of the span never came.
    """

    def __init__(self) -> None:
        self.known: ChangeTracker[str, SpanApp] = ChangeTracker()
        self.waiting: ChangeTracker[str, Waiting] = ChangeTracker()
        self._size = 0

    def restored(self) -> None:
        """Count the records that wait, after stored entries were entered into the tables."""
        self._size = sum(len(each.records) for each in self.waiting.values())

    def add_span(self, span: SpanApp) -> Iterator[AppRecord]:
        """Add what a line says about a span, unless it is known. Returns the records that waited for it."""
        before = self.known.get(span.span)
        if before is not None and span.app_id in (before.app_id, UNKNOWN):
            return
        self.known.pop(span.span, None)
        self.known[span.span] = span
        at = self.waiting[span.span].at if span.span in self.waiting else 0
        for record in self._release(span.span):
            yield from self.add_record(span.span, record, at)

    def add_record(self, span: str, record: AppRecord, at: int) -> tuple[AppRecord, ...]:
        """Add a record at time `at` (nanoseconds). Returns it if its app is known."""
        app_id, missing = self._look_up(span)
        if not missing:
            return (structs.replace(record, app_id=app_id),)
        before = self.waiting.get(missing, Waiting(at, ()))
        self.waiting[missing] = Waiting(before.at, (*before.records, record))
        self._size += 1
        return ()

    def trim(self, capacity: int) -> Iterator[AppRecord]:
        """Remove the oldest entries beyond the capacity. Returns their records.

        It is called once for many records, because the oldest keys of a dictionary are found behind all removed ones.
        """
        for _ in evicted(self.known, capacity):
            pass
        oldest, size = list[str](), self._size
        for span, waiting in self.waiting.items() if size > capacity else ():
            if size <= capacity:
                break
            oldest.append(span)
            size -= len(waiting.records)
        for span in oldest:
            yield from self._release(span)

    def _look_up(self, span: str) -> tuple[str, str]:
        """Return the app of a span, and the span whose line is missing; "" if none is."""
        for _ in range(_MAX_PARENTS):
            known = self.known.get(span)
            if known is None:
                return UNKNOWN, span
            if known.app_id != UNKNOWN or not known.parent:
                return known.app_id, ""
            span = known.parent
        return UNKNOWN, ""

    def _release(self, span: str) -> tuple[AppRecord, ...]:
        records = self.waiting.pop(span).records if span in self.waiting else ()
        self._size -= len(records)
        return records

    def expire(self, before: int | None) -> Iterator[AppRecord]:
        """Remove and return the records that have waited since `before` (event time, nanoseconds). Forget old spans.

        None if nothing more will be read: then all records are returned.
        """
        while before is not None and self.known and (next(iter(self.known.values())).at or 0) <= before:
            del self.known[next(iter(self.known))]
        while self.waiting and (before is None or next(iter(self.waiting.values())).at <= before):
            yield from self._release(next(iter(self.waiting)))
