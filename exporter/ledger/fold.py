"""Which record moves which series: one function a record type, one table of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field, structs

from exporter import catalogue as c
from exporter.ledger.budgets import Budgets
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.joins import Ended, Joins
from exporter.ledger.overflow import Overflow
from exporter.ledger.prices import Prices
from exporter.ledger.series import Labels, Series
from parsers import batch as b
from parsers.values.numbers import SECOND

_MOST_WORKERS = 1024

#: Kinds of runs that a worker's task executes.
_WORKER_KINDS = ("workflow", "advanced-chat")


class SourceLedger(Struct):
    """What a record of one source may move. `last_at` is the newest event time, `usage_at` the time at which a usage
    without one counts, both in nanoseconds and 0 where there is none yet; `clock` gives the wall clock in seconds.
    `file` is the file generation whose batch is entered, "" in a replay. `has_telemetry`: telemetry reports the runs
    that a worker's tasks report too.
    """

    source: str
    series: Series
    prices: Prices
    budgets: Budgets
    clock: Callable[[], float]
    joins: Joins
    active: ChangeTracker[str, b.Active] = field(default_factory=ChangeTracker)
    last_at: int = 0
    file: str = ""
    has_telemetry: bool = False
    usage_at: int = 0


def _request(books: SourceLedger, r: b.Request) -> None:
    source, series = books.source, books.series
    series.add(c.REQUESTS, (source, r.method, r.route, r.status_code), r.count, r.count)
    if (source, r.route, b.FAILURE_REASONS[0]) not in series.counters[c.FAILED_REQUESTS]:
        for reason in b.FAILURE_REASONS:
            series.add(c.FAILED_REQUESTS, (source, r.route, reason), 0, 0)
    if r.failure:
        series.add(c.FAILED_REQUESTS, (source, r.route, r.failure), r.count, r.count)
    if r.response_bytes is not None:
        series.add(c.RESPONSE_BYTES, (source, r.route), r.response_bytes, r.count)
    if r.durations:
        series.observe(c.REQUEST_DURATION, (source, r.method, r.route, r.status_code), r.durations)
    if r.first_bytes:
        series.observe(c.TIME_TO_FIRST_BYTE, (source, r.method, r.route), r.first_bytes)
    if r.handler_durations:
        series.observe(c.HANDLER_DURATION, (source, r.method, r.route), r.handler_durations)


def post(books: SourceLedger, records: Sequence[b.Record]) -> None:
    """Enters the records of a batch."""
    overflow = Overflow(books.source, books.series, books.prices, books.budgets)
    if not overflow:
        for record in records:
            FOLDS[type(record)](books, record)
        return
    for record in records:
        if not overflow.takes(record):
            FOLDS[type(record)](books, record)
    for each in overflow.sums():
        _SUMS[type(each)](books, each, refused=True)
    for reason, count in overflow.missing().items():
        books.series.add(c.USAGE_MISSING, (books.source, "", reason), count, count, refused=True)


def _usage(books: SourceLedger, r: b.Usage, refused: bool = False) -> None:
    """`refused` is as in Series.add; the model of unpriced tokens is refused only where it is "" (Overflow)."""
    series, model = books.series, (r.provider, r.model)
    tokens = {"input": r.input_tokens, "output": r.output_tokens, "unsplit": r.unsplit_tokens}
    for token_type, count in tokens.items():
        if count is not None:
            series.add(c.TOKENS_USED, (books.source, r.app_id, *model, token_type), count, r.count, refused=refused)
    at = _usage_time(books, r.at)
    cost, currency, basis = r.cost, r.currency, "reported"
    unpriced = sum(count or 0 for count in tokens.values()) if cost is None else 0
    if cost is None and (price := books.prices.find(r, at)) is not None:
        (cost, unpriced), currency, basis = price.priced(r), price.currency, "price_list"
    books.budgets.spend(books.source, r, cost, currency, at)
    if cost is not None:
        series.add(c.COST, (books.source, r.app_id, *model, currency, basis), cost, r.count, refused=refused)
    if unpriced:
        series.add(c.UNPRICED_TOKENS, (books.source, *model), unpriced, r.count, refused=refused and not r.model)


def _usage_time(books: SourceLedger, at: int | None) -> int:
    """The time that chooses a budget's window and a price: one without a time goes with the usage before it, else with
    the newest line of its source; only where the source has no time at all with the clock. In nanoseconds.
    """
    if at is None and (before := books.usage_at or books.last_at):
        return before
    known = event_time(books, at)
    if at is not None:
        books.usage_at = known
    return known


def _usage_missing(books: SourceLedger, r: b.UsageMissing) -> None:
    books.series.add(c.USAGE_MISSING, (books.source, r.app_id, r.reason))


def _first_token(books: SourceLedger, r: b.FirstToken, refused: bool = False) -> None:
    if durations := r.durations or _one(r.duration):
        books.series.observe(c.TIME_TO_FIRST_TOKEN, (books.source, r.app_id, r.model), durations, refused=refused)


def _run(books: SourceLedger, r: b.Run, refused: bool = False) -> None:
    """A run as telemetry reports it."""
    books.has_telemetry = books.has_telemetry or r.kind in _WORKER_KINDS
    _count_run(books, r, refused)


def _count_run(books: SourceLedger, r: b.Run, refused: bool = False) -> None:
    durations = r.durations or _one(r.duration)
    _timed(books, (c.RUNS, c.RUN_DURATION), (r.kind, r.app_id, r.status), durations, r.count, refused)


def _node_run(books: SourceLedger, r: b.NodeRun) -> None:
    durations = r.durations or _one(r.duration)
    _timed(books, (c.NODE_RUNS, c.NODE_RUN_DURATION), (r.node_type, r.status), durations, r.count)


def _task(books: SourceLedger, r: b.Task) -> None:
    _timed(books, (c.TASKS, c.TASK_DURATION), (r.task, r.status), _one(r.duration))


def _invocation(books: SourceLedger, r: b.Invocation) -> None:
    durations = r.durations or _one(r.duration)
    metrics = c.MODEL_INVOCATIONS, c.MODEL_INVOCATION_DURATION
    _timed(books, metrics, (r.operation, r.status_code), durations, r.count)


def _timed(
    books: SourceLedger,
    metrics: tuple[c.Metric, c.Metric],
    labels: Labels,
    durations: tuple[int, ...],
    count: int = 1,
    refused: bool = False,
) -> None:
    """A counter, and a histogram that lacks its last label."""
    counter, histogram = metrics
    books.series.add(counter, (books.source, *labels), count, count, refused=refused)
    if durations:
        books.series.observe(histogram, (books.source, *labels[:-1]), durations, refused=refused)


def _one(duration: int | None) -> tuple[int, ...]:
    return () if duration is None else (duration,)


def _failure(books: SourceLedger, r: b.Failure) -> None:
    books.series.add(c.ERRORS, (books.source, r.kind), r.count)


def _active(books: SourceLedger, r: b.Active) -> None:
    books.active.pop(r.worker, None)
    books.active[r.worker] = structs.replace(r, at=event_time(books, r.at))
    while len(books.active) > _MOST_WORKERS:
        del books.active[next(iter(books.active))]


def _dropped_lines(books: SourceLedger, r: b.DroppedLines) -> None:
    books.series.add(c.DROPPED_LINES, (books.source,), r.lines)


def _dropped_value(books: SourceLedger, r: b.DroppedValue) -> None:
    books.series.add(c.DROPPED_VALUES, (books.source, r.field), r.count)


def _opened(books: SourceLedger, r: b.Opened) -> None:
    for lost in books.joins.open(structs.replace(r, at=event_time(books, r.at))):
        _lost(books, lost)


def _closed(books: SourceLedger, r: b.Closed) -> None:
    for ended in books.joins.close(r, event_time(books, r.at), books.file):
        _ended(books, ended)


def _ended(books: SourceLedger, r: Ended) -> None:
    """A worker's run is final. Where telemetry reports the same run with its outcome, the failure counts there."""
    outcome = "" if books.has_telemetry else r.outcome
    status = "failed" if "failed" in (r.status, outcome) else outcome or r.status
    _count_run(books, b.Run(r.kind, r.app_id, status, r.duration))


def _trace_error(books: SourceLedger, r: b.TraceError) -> None:
    failed = books.joins.fail(r, event_time(books, r.at))
    if failed is not None:
        _failed_requests(books, *failed, 1)


def _accepted(books: SourceLedger, r: b.Accepted) -> None:
    if count := books.joins.accept(r):
        _failed_requests(books, r.route, r.failure, count)


def _failed_requests(books: SourceLedger, route: str, failure: str, count: int) -> None:
    """Requests that were counted as answered have failed."""
    books.series.add(c.FAILED_REQUESTS, (books.source, route, failure), count, count)


def _lost(books: SourceLedger, r: b.Opened) -> None:
    books.series.add(c.JOINS_EXPIRED, (books.source,))
    _count_run(books, b.Run(r.kind, r.app_id, "lost"))


def event_time(books: SourceLedger, at: int | None) -> int:
    """A line may claim any time: at most now, at least 1970, and now where it claims none; in nanoseconds."""
    now = round(books.clock() * SECOND)
    return now if at is None else max(0, min(at, now))


def passed(books: SourceLedger, at: int) -> None:
    """The lines of the present file have reached event time `at`, in nanoseconds: ends the joins that are due by it."""
    at = event_time(books, at)
    books.last_at = max(books.last_at, at)
    for ended in books.joins.passed(books.file, at, event_time(books, None)):
        _ended(books, ended)
    for lost in books.joins.expire(books.last_at):
        _lost(books, lost)


def settle(books: SourceLedger, now: int | None) -> None:
    """Ends the runs that are due at `now`, the wall clock in nanoseconds; None: nothing more will be read."""
    for ended in books.joins.finish() if now is None else books.joins.settle(now):
        _ended(books, ended)


FOLDS: Mapping[type, Callable[[SourceLedger, Any], None]] = {
    b.Request: _request,
    b.Usage: _usage,
    b.UsageMissing: _usage_missing,
    b.FirstToken: _first_token,
    b.Run: _run,
    b.NodeRun: _node_run,
    b.Task: _task,
    b.Invocation: _invocation,
    b.Failure: _failure,
    b.Active: _active,
    b.DroppedLines: _dropped_lines,
    b.DroppedValue: _dropped_value,
    b.Opened: _opened,
    b.Closed: _closed,
    b.TraceError: _trace_error,
    b.Accepted: _accepted,
}

#: Those whose sums an Overflow gives.
_SUMS: Mapping[type, Callable[..., None]] = {b.Usage: _usage, b.Run: _run, b.FirstToken: _first_token}
