"""Joins of the lines of one run or request on their trace id: what waits, within bounds, until its outcome is known.

A worker's run has up to three facts: its beginning, its end and the errors of its trace id. They come in any order,
in different windows, and a restart may lie between them. An ended run is held until its errors must have been read.
An accepted request has its access line and may have an error behind it; see `exporter.ledger.streams`.

A client may choose the trace id (the header `traceparent`), so one id may belong to many runs. Each end of a run gives
exactly one run, whatever the ids are; only which beginning and which error belong to it is then a guess.
"""

from collections.abc import Iterator
from typing import TypeVar

from msgspec import Struct, structs

from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.streams import Streams
from parsers.batch import UNKNOWN, Accepted, Closed, ErrorLevel, Opened, TraceError

_SECOND = 1_000_000_000
_DAY = 24 * 3600 * _SECOND

#: An error record belongs to a run up to so many nanoseconds after its end. A real Dify writes it 1 to 59 ms after it.
HOLD = 2 * _SECOND
#: Lines of one file are out of order by at most so many nanoseconds.
_DISORDER = 2 * _SECOND

Waiting = TypeVar("Waiting")

_RANKS: dict[ErrorLevel, int] = {"node": 0, "plugin": 1, "run": 2}


class Ended(Struct, frozen=True):
    """A run that has ended, at time `at` in nanoseconds, whose line came from the file generation `file`.

    `status` is that of its task, `finished` or `failed`, and `outcome` what the errors of its trace id say: `failed`,
    `partial-succeeded` or "". `opened_at` is None where its beginning has not been read.
    """

    trace_id: str
    status: str
    duration: int | None
    at: int
    file: str
    outcome: str = ""
    opened_at: int | None = None
    kind: str = UNKNOWN
    app_id: str = UNKNOWN

    def began(self, opened: Opened) -> "Ended":
        """The same run with its beginning."""
        return structs.replace(self, opened_at=opened.at, kind=opened.kind, app_id=opened.app_id)

    def owns(self, error: TraceError) -> bool:
        """Whether an error of its trace id lies between its beginning and the end of its hold."""
        return (self.opened_at is None or error.at >= self.opened_at) and error.at <= self.at + HOLD

    def failed(self, error: TraceError) -> "Ended":
        """The same run with the outcome that an error gives it: a failed run stays failed."""
        worst = error.level == "run" or self.outcome == "failed"
        return structs.replace(self, outcome="failed" if worst else "partial-succeeded")


class Joins:
    """Of one source, each table in the order of arrival and of at most `capacity` entries.

    `waiting` are runs that have begun, `held` those that have ended, `errors` error records whose run has not ended
    yet. What leaves is returned: an `Opened` without an end is a lost run, an `Ended` is final.
    """

    def __init__(self, capacity: int, now: int) -> None:
        """`now` is the wall clock in nanoseconds."""
        self.capacity = capacity
        self._started_at = now
        self._reached: dict[str, tuple[int, int]] = {}  # event time of a file's last lines, and when they were read
        self.waiting: ChangeTracker[str, Opened] = ChangeTracker()
        self.held: ChangeTracker[str, Ended] = ChangeTracker()
        self.errors: ChangeTracker[str, TraceError] = ChangeTracker()
        self.streams = Streams()

    def open(self, opened: Opened) -> Iterator[Opened]:
        """Adds the beginning of a run at a known time. A retry of the same task waits anew, without its old errors."""
        trace_id, at = opened.trace_id, opened.at or 0
        ended = self.held.get(trace_id)
        if ended is not None and ended.opened_at is None and at <= ended.at:
            self.held[trace_id] = ended.began(opened)
            return
        error = self.errors.get(trace_id)
        if error is not None and error.at < at:
            del self.errors[trace_id]
        self.waiting.pop(trace_id, None)
        self.waiting[trace_id] = opened
        yield from _beyond(self.waiting, self.capacity)

    def close(self, closed: Closed, at: int, file: str) -> Iterator[Ended]:
        """Adds the end of a run at time `at`, read from a file generation."""
        trace_id = closed.trace_id
        if (before := self.held.pop(trace_id, None)) is not None:
            yield before
        ended = Ended(trace_id, closed.status, closed.duration, at, file)
        if (opened := self.waiting.pop(trace_id, None)) is not None:
            ended = ended.began(opened)
        if not trace_id:
            yield ended
            return
        error = self.errors.get(trace_id)
        if error is not None and error.at <= at + HOLD:
            del self.errors[trace_id]
            ended = ended.failed(error) if ended.owns(error) else ended
        self.held[trace_id] = ended
        yield from _beyond(self.held, self.capacity)

    def accept(self, accepted: Accepted) -> int:
        """Adds accepted requests; how many of them have failed, because their error record was read before them."""
        return self.streams.add(accepted, self.errors, self.capacity)

    def fail(self, error: TraceError, at: int) -> tuple[str, str] | None:
        """Adds an error record; the route and failure of the accepted request that it makes a failure.

        `at` is its time, but at most now. An access line is compared with the time as written, so that a clock that is
        ahead does not matter. With OpenTelemetry the api's request and the worker's run have one trace id: where both
        are in one source, a failed node of the run (it may be partial-succeeded) does not fail the request.
        """
        is_of_run = error.trace_id in self.held or error.trace_id in self.waiting
        failed = None if is_of_run and error.level == "plugin" else self.streams.fail(error)
        if failed is None or is_of_run:
            self._fail_run(structs.replace(error, at=at))
        return failed

    def _fail_run(self, error: TraceError) -> None:
        """Of several errors for one run the worst counts."""
        trace_id = error.trace_id
        ended = self.held.get(trace_id)
        if ended is not None and ended.owns(error):
            self.held[trace_id] = ended.failed(error)
            return
        before = self.errors.pop(trace_id, None)
        if before is not None:
            worst = max((before, error), key=lambda each: _RANKS[each.level])
            error = structs.replace(worst, at=max(before.at, error.at))
        self.errors[trace_id] = error
        for _ in _beyond(self.errors, self.capacity):
            pass

    def passed(self, file: str, at: int, now: int) -> Iterator[Ended]:
        """The lines of a file have reached the event time `at` when the wall clock shows `now`, both in nanoseconds.

        Gives the runs of that file that are final by event time alone, as they must be while a backlog is read.
        """
        self._reached[file] = at, now
        for ended in [each for each in self.held.values() if each.file == file]:
            if ended.at <= at - HOLD - _DISORDER:
                yield self.held.pop(ended.trace_id)

    def settle(self, now: int) -> Iterator[Ended]:
        """The runs that are final at `now` by the wall clock: event time goes on with it where nothing follows."""
        for ended in list(self.held.values()):
            at, then = self._reached.get(ended.file, (ended.at, self._started_at))
            if at + now - then >= ended.at + HOLD:
                yield self.held.pop(ended.trace_id)

    def forget(self, file: str) -> None:
        """A file generation is read no more."""
        self._reached.pop(file, None)

    def finish(self) -> Iterator[Ended]:
        """All runs that are held, because nothing more will be read."""
        while self.held:
            yield self.held.pop(next(iter(self.held)))

    def expire(self, now: int) -> Iterator[Opened]:
        """The runs that began more than a day of event time before `now` (nanoseconds); drops errors of that age."""
        while self.errors and next(iter(self.errors.values())).at <= now - _DAY:
            del self.errors[next(iter(self.errors))]
        while self.waiting:
            first = next(iter(self.waiting.values()))
            if first.at is None or first.at > now - _DAY:
                return
            yield self.waiting.pop(first.trace_id)


def _beyond(table: ChangeTracker[str, Waiting], capacity: int) -> Iterator[Waiting]:
    """Removes the oldest entries beyond the capacity."""
    while len(table) > capacity:
        yield table.pop(next(iter(table)))
