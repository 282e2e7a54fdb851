"""Joins the lines of one run or request, in bounded memory: on their trace id, or for spans on their parents.

Up to three kinds of lines describe a worker's run: its beginning, its end, and the errors of its trace id. They arrive
in any order, in different windows, and the exporter may restart between them. An ended run is held until all of its
errors must have been read. An accepted request has one access line and may have an error record after it; see
`exporter.ledger.streams`. For the nodes of a workflow in tracing spans see `exporter.ledger.span_apps`.

A client can choose the trace id (the header `traceparent`), so several runs can share one id. Each end of a run still
counts as exactly one run; only the beginning and the error that are joined to it may then belong to another run.
"""

from collections.abc import Iterator

from msgspec import Struct, structs

from exporter.ledger.change_tracker import ChangeTracker, evicted
from exporter.ledger.reached_times import ReachedTimes
from exporter.ledger.span_apps import AppRecord, SpanApps
from exporter.ledger.streams import Streams
from parsers.batch import UNKNOWN, Accepted, Closed, ErrorLevel, Opened, TraceError
from parsers.values.numbers import SECOND

#: Runs, errors and spans are forgotten when they are older than this, by event time in nanoseconds.
MAX_AGE = 24 * 3600 * SECOND

#: An error record belongs to a run if it is at most this many nanoseconds after its end (in a real Dify, 1 to 59 ms).
HOLD = 2 * SECOND
#: Lines of one file are out of order by at most this many nanoseconds.
_DISORDER = 2 * SECOND

_RANKS: dict[ErrorLevel, int] = {"node": 0, "plugin": 1, "run": 2}


class Ended(Struct, frozen=True):
    """A run that has ended. `at` is the time of its end in nanoseconds, `file` the file generation of that line.

    `status` is the status of its task, `finished` or `failed`. `outcome` follows from the errors of its trace id:
    `failed`, `partial-succeeded` or "". `opened_at` is None if the beginning of the run was not read.
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
        """A copy with the beginning of the run."""
        return structs.replace(self, opened_at=opened.at, kind=opened.kind, app_id=opened.app_id)

    def owns(self, error: TraceError) -> bool:
        """Whether an error of this trace id occurred between the beginning of the run and `HOLD` after its end.

        If the clock was set back during the run, the time of its beginning says nothing.
        """
        begun = self.opened_at
        return (begun is None or begun > self.at or error.at >= begun) and error.at <= self.at + HOLD

    def failed(self, error: TraceError) -> "Ended":
        """A copy with the outcome that the error causes. A failed run stays failed."""
        worst = error.level == "run" or self.outcome == "failed"
        return structs.replace(self, outcome="failed" if worst else "partial-succeeded")


class Joins:
    """The joins of one source. Each table is in the order of arrival and has at most `capacity` entries after `trim`.

    `waiting` holds runs that have begun, `held` runs that have ended, and `errors` error records whose run has not
    ended yet. The methods return the runs that leave the tables: an `Opened` without an end is a lost run, an `Ended`
    has its final outcome.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.waiting: ChangeTracker[str, Opened] = ChangeTracker()
        self.held: ChangeTracker[str, Ended] = ChangeTracker()
        self.errors: ChangeTracker[str, TraceError] = ChangeTracker()
        self.streams = Streams()
        self.spans = SpanApps()
        #: Records whose app is decided, until they are counted together.
        self.decided: list[AppRecord] = []

    def restored(self) -> None:
        """Count what the tables hold, after stored entries were entered into them."""
        self.streams.restored()
        self.spans.restored()

    @property
    def has_open(self) -> bool:
        """Whether anything waits for its other half, and can become too old."""
        return bool(self.waiting or self.errors or self.spans.known or self.spans.waiting)

    def trim(self) -> tuple[list[Opened], list[Ended]]:
        """Remove the oldest entries beyond the capacity. Returns the runs that no longer fit.

        It is called once per batch: the oldest key of a dictionary is behind all removed ones.
        """
        for _ in evicted(self.errors, self.capacity):
            pass
        self.streams.trim(self.capacity)
        return list(evicted(self.waiting, self.capacity)), list(evicted(self.held, self.capacity))

    def open(self, opened: Opened) -> None:
        """Add the beginning of a run. A retry of the same task replaces the earlier beginning and drops its errors."""
        trace_id, at = opened.trace_id, opened.at or 0
        ended = self.held.get(trace_id)
        if ended is not None and ended.opened_at is None and at <= ended.at:
            self.held[trace_id] = ended.began(opened)
            return
        error = self.errors.get(trace_id)
        if error is not None and error.at < at:
            del self.errors[trace_id]
        if trace_id in self.waiting:  # `pop` of a missing key takes five times as long
            del self.waiting[trace_id]
        self.waiting[trace_id] = opened

    def close(self, closed: Closed, at: int, file: str) -> Iterator[Ended]:
        """Add the end of a run at time `at` in nanoseconds, read from the file generation `file`.

        Returns the runs that are now final.
        """
        trace_id = closed.trace_id
        if trace_id in self.held:
            yield self.held.pop(trace_id)
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

    def accept(self, accepted: Accepted) -> int:
        """Add accepted requests. Returns how many have failed, because their error record was read before them."""
        failed = self.streams.add(accepted, self.errors, self.capacity)
        for trace_id in (
            failed - self.waiting.keys()
        ):  # one request has failed by the error, and perhaps a run that is open
            del self.errors[trace_id]
        return len(failed)

    def fail(self, error: TraceError, at: int) -> tuple[str, str] | None:
        """Add an error record. Returns route and failure of the accepted request that failed by it, if there is one.

        `at` is the time of the error, limited to now. Access lines are compared with the time in the record itself, so
        a clock that is ahead does not matter.

        With OpenTelemetry, the api's request and the worker's run have one trace id. If both are in one source, a
        failed node of the run does not fail the request, because the run may be partial-succeeded.
        """
        is_of_run = error.trace_id in self.held or error.trace_id in self.waiting
        failed = None if is_of_run and error.level == "plugin" else self.streams.fail(error)
        if failed is None or is_of_run:
            self._fail_run(structs.replace(error, at=at))
        return failed

    def _fail_run(self, error: TraceError) -> None:
        """Join an error to its run. If there are several, the worst one counts."""
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

    def release(self, file: str, at: int) -> Iterator[Ended]:
        """Remove and return the runs of a file that are final because the file has reached the event time `at`.

        While a backlog is read, the wall clock says nothing about them. Where the clock of the log was set back, the
        file has reached an earlier time.
        """
        for ended in [each for each in self.held.values() if each.file == file]:
            if abs(at - ended.at) >= HOLD + _DISORDER:
                yield self.held.pop(ended.trace_id)

    def finalize(self, reached: ReachedTimes, now: int) -> Iterator[Ended]:
        """Remove and return the runs that are final at `now` (wall clock, nanoseconds), even if no line follows.

        If the clock was set back by more than HOLD, they are final too.
        """
        for ended in list(self.held.values()):
            if reached.assumed(ended.file, ended.at, now) >= ended.at + HOLD:
                yield self.held.pop(ended.trace_id)

    def finalize_all(self) -> Iterator[Ended]:
        """Remove and return all held runs, because nothing more will be read."""
        while self.held:
            yield self.held.pop(next(iter(self.held)))

    def expire(self, now: int) -> Iterator[Opened]:
        """Remove and return the runs that began more than a day before `now`, see `ReachedTimes.by_all`.

        Errors of that age are dropped.
        """
        while self.errors and next(iter(self.errors.values())).at <= now - MAX_AGE:
            del self.errors[next(iter(self.errors))]
        while self.waiting:
            first = next(iter(self.waiting.values()))
            if first.at is None or first.at > now - MAX_AGE:
                return
            yield self.waiting.pop(first.trace_id)
