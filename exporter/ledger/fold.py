"""Which record changes which series: one function per record type, and one table of these functions.

Records that wait for others are in `exporter.ledger.fold_joins`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from exporter import catalogue as c
from exporter.ledger import book
from exporter.ledger.series import Labels
from exporter.ledger.source_ledger import SourceLedger, event_time
from parsers import batch as b
from parsers.values.http import status_class_of

_MAX_WORKERS = 1024

#: Kinds of runs that a worker's task executes.
WORKER_KINDS = frozenset(("workflow", "advanced-chat"))


def _request(ledger: SourceLedger, record: b.Request) -> None:
    source, series, books = ledger.source, ledger.series, ledger.books
    answered = record.route, status_class_of(record.status_code)
    if record.count:
        _count_requests(ledger, record, answered)
    if record.response_bytes is not None:
        series.add(c.RESPONSE_BYTES, (source, record.route), record.response_bytes, record.count)
    if record.durations:
        series.observe(c.REQUEST_DURATION, (source, record.method, record.route, record.status_code), record.durations)
        books.observe(book.DURATIONS, answered, record.durations)
    if record.first_bytes:
        series.observe(c.TIME_TO_FIRST_BYTE, (source, record.method, record.route), record.first_bytes)
    if record.handler_durations:
        series.observe(c.HANDLER_DURATION, (source, record.method, record.route), record.handler_durations)


def _count_requests(ledger: SourceLedger, record: b.Request, answered: tuple[str, str]) -> None:
    source, series, books = ledger.source, ledger.series, ledger.books
    series.add(c.REQUESTS, (source, record.method, record.route, record.status_code), record.count, record.count)
    books.add(book.REQUESTS, answered, record.count)
    if (source, record.route, b.FAILURE_REASONS[0]) not in series.counters[c.FAILED_REQUESTS]:
        for reason in b.FAILURE_REASONS:
            series.add(c.FAILED_REQUESTS, (source, record.route, reason), 0, 0)
    if record.failure:
        series.add(c.FAILED_REQUESTS, (source, record.route, record.failure), record.count, record.count)
        books.add(book.FAILED_REQUESTS, (record.route, record.failure), record.count)


def _usage(ledger: SourceLedger, record: b.Usage) -> None:
    # A known time is not stored as `usage_at`: records that can wait are not entered in their order.
    at = usage_time(ledger, None) if record.at is None else event_time(ledger, record.at)
    count_usage(ledger, record, at)


def count_usage(ledger: SourceLedger, record: b.Usage, at: int, refused: bool = False) -> None:
    """Count a usage. `at` is the time in nanoseconds that selects the budget window and the price.

    `refused` is the same as in `Series.add`. The unpriced tokens of refused usages are counted by themselves.
    """
    series, books, model = ledger.series, ledger.books, (record.provider, record.model)
    tokens = {"input": record.input_tokens, "output": record.output_tokens, "unsplit": record.unsplit_tokens}
    for token_type, count in tokens.items():
        if count is not None:
            series.add(
                c.TOKENS_USED, (ledger.source, record.app_id, *model, token_type), count, record.count, refused=refused
            )
            books.add(book.TOKENS, (record.app_id, *model, token_type), count)
    cost, currency, basis = record.cost, record.currency, "reported"
    unpriced = sum(count or 0 for count in tokens.values()) if cost is None else 0
    if cost is None and (price := ledger.prices.find(record, at)) is not None:
        (cost, unpriced), currency, basis = price.priced(record), price.currency, "price_list"
    ledger.budgets.spend(ledger.source, record, cost, currency, at)
    ledger.budgets.note_time(at)
    if cost is not None:
        series.add(c.COST, (ledger.source, record.app_id, *model, currency, basis), cost, record.count, refused=refused)
        books.add(book.COST, (record.app_id, *model, currency), cost)
    if unpriced and not refused:
        count_unpriced(ledger, (record.app_id, *model), unpriced, record.count)


def count_unpriced(ledger: SourceLedger, labels: Labels, tokens: int, usages: int, refused: bool = False) -> None:
    """Count tokens without a price. `labels` are app, provider and model. `refused` is the same as in `Series.add`."""
    ledger.series.add(c.UNPRICED_TOKENS, (ledger.source, *labels[1:]), tokens, usages, refused=refused)
    ledger.books.add(book.UNPRICED_TOKENS, labels, tokens)


def usage_time(ledger: SourceLedger, at: int | None) -> int:
    """The time in nanoseconds that selects the budget window and the price.

    A usage without a time gets the time of the usage before it, or else the newest event time of its source. The wall
    clock is used only if the source has no event time at all.
    """
    if at is None and (before := ledger.usage_at or ledger.last_at):
        return before
    known = event_time(ledger, at)
    if at is not None:
        ledger.usage_at = known
    return known


def _run(ledger: SourceLedger, record: b.Run) -> None:
    """Count a run that telemetry reports."""
    ledger.has_telemetry = ledger.has_telemetry or record.kind in WORKER_KINDS
    count_run(ledger, record)


def count_run(ledger: SourceLedger, record: b.Run, at: int | None = None) -> None:
    """Count a run. `at` is its end in nanoseconds if it ended before the lines that are being entered."""
    _count_and_observe(ledger, record, at)


#: The counter and the histogram of records that change nothing else. Their fields have the names of the labels.
METRICS_OF: Mapping[type, tuple[c.Metric | None, c.Metric | None]] = {
    b.UsageMissing: (c.USAGE_MISSING, None),
    b.FirstToken: (None, c.TIME_TO_FIRST_TOKEN),
    b.Run: (c.RUNS, c.RUN_DURATION),
    b.NodeRun: (c.NODE_RUNS, c.NODE_RUN_DURATION),
    b.Task: (c.TASKS, c.TASK_DURATION),
    b.TaskReceived: (c.TASKS_RECEIVED, None),
    b.Invocation: (c.MODEL_INVOCATIONS, c.MODEL_INVOCATION_DURATION),
}

#: The tables of the history for these metrics.
_BOOKS = {c.RUNS: book.RUNS, c.TIME_TO_FIRST_TOKEN: book.FIRST_TOKENS}


def _count_and_observe(ledger: SourceLedger, record: Any, at: int | None = None) -> None:
    counter, histogram = METRICS_OF[type(record)]
    if counter is not None:
        count(ledger, counter, _labels(record, counter), record.count, at=at)
    if histogram is not None and (durations := record.durations or _one(record.duration)):
        observe(ledger, histogram, _labels(record, histogram), durations)


def _labels(record: Any, metric: c.Metric) -> Labels:
    return tuple([getattr(record, name) for name in metric.labels[1:]])


def count(
    ledger: SourceLedger, metric: c.Metric, labels: Labels, number: int, *, at: int | None = None, refused: bool = False
) -> None:
    """Add a number of records to a counter and to its table of the history.

    `at` is the same as in `SourceBooks.add`, and `refused` as in `Series.add`.
    """
    ledger.series.add(metric, (ledger.source, *labels), number, number, refused=refused)
    if metric in _BOOKS:
        ledger.books.add(_BOOKS[metric], labels, number, at)


def observe(
    ledger: SourceLedger, metric: c.Metric, labels: Labels, durations: Sequence[int], *, refused: bool = False
) -> None:
    """Add durations in nanoseconds to a histogram and to its table of the history."""
    ledger.series.observe(metric, (ledger.source, *labels), durations, refused=refused)
    if metric in _BOOKS:
        ledger.books.observe(_BOOKS[metric], labels, durations)


def _one(duration: int | None) -> tuple[int, ...]:
    return () if duration is None else (duration,)


def _failure(ledger: SourceLedger, record: b.Failure) -> None:
    ledger.series.add(c.ERRORS, (ledger.source, record.kind), record.count)
    ledger.books.add(book.ERRORS, (record.kind,), record.count)


def _active(ledger: SourceLedger, record: b.Active) -> None:
    """Keep the newest number of a worker. The records of a batch have any order."""
    newest = structs.replace(record, at=event_time(ledger, record.at))
    before = ledger.active.pop(record.worker, newest)
    ledger.active[record.worker] = before if (before.at or 0) > (newest.at or 0) else newest
    while len(ledger.active) > _MAX_WORKERS:
        del ledger.active[next(iter(ledger.active))]


def _dropped_lines(ledger: SourceLedger, record: b.DroppedLines) -> None:
    ledger.series.add(c.DROPPED_LINES, (ledger.source,), record.lines)


def _dropped_value(ledger: SourceLedger, record: b.DroppedValue) -> None:
    ledger.series.add(c.DROPPED_VALUES, (ledger.source, record.field), record.count)
    if record.field == "time":
        ledger.books.add(book.DROPPED_TIMES, (), record.count)


def _received_items(ledger: SourceLedger, record: b.ReceivedItems) -> None:
    ledger.series.add(c.RECEIVER_ITEMS, (ledger.source, record.dialect, record.outcome), record.count)


#: The record types that count by themselves.
COUNTED: Mapping[type, Callable[[SourceLedger, Any], None]] = {
    **dict.fromkeys(METRICS_OF, _count_and_observe),
    b.Run: _run,
    b.Request: _request,
    b.Usage: _usage,
    b.Failure: _failure,
    b.Active: _active,
    b.DroppedLines: _dropped_lines,
    b.DroppedValue: _dropped_value,
    b.ReceivedItems: _received_items,
}
