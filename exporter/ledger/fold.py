"""Which record changes which series, and which table of the history has the same numbers.

Records that wait for others are in `exporter.ledger.fold_joins`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from exporter import catalogue as c
from exporter.ledger import book
from exporter.ledger.series import Labels
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.sums import Sums
from parsers import batch as b
from parsers.values.http import status_class_of

_MAX_WORKERS = 1024

#: Kinds of runs that a worker's task executes.
WORKER_KINDS = frozenset(("workflow", "advanced-chat"))

#: The counters and histograms of records that change nothing else. Their fields have the names of the labels.
METRICS_OF: Mapping[type, tuple[c.Metric, ...]] = {
    b.UsageMissing: (c.USAGE_MISSING,),
    b.FirstToken: (c.TIME_TO_FIRST_TOKEN,),
    b.Run: (c.RUNS, c.RUN_DURATION),
    b.NodeRun: (c.NODE_RUNS, c.NODE_RUN_DURATION),
    b.Task: (c.TASKS, c.TASK_DURATION),
    b.TaskReceived: (c.TASKS_RECEIVED,),
    b.Invocation: (c.MODEL_INVOCATIONS, c.MODEL_INVOCATION_DURATION),
    b.Failure: (c.ERRORS,),
    b.DroppedValue: (c.DROPPED_VALUES,),
    b.ReceivedItems: (c.RECEIVER_ITEMS,),
}


def _by_class(labels: Labels) -> Labels:
    return labels[1], status_class_of(labels[2])


def _same(labels: Labels) -> Labels:
    return labels


#: The tables of the history for metrics, and what makes the labels of a metric, without the source, those of the table.
BOOKS: Mapping[c.Metric, tuple[str, Callable[[Labels], Labels | None]]] = {
    c.REQUESTS: (book.REQUESTS, _by_class),
    c.REQUEST_DURATION: (book.DURATIONS, _by_class),
    c.FAILED_REQUESTS: (book.FAILED_REQUESTS, _same),
    c.RUNS: (book.RUNS, _same),
    c.TIME_TO_FIRST_TOKEN: (book.FIRST_TOKENS, _same),
    c.ERRORS: (book.ERRORS, _same),
    c.UNPRICED_TOKENS: (book.UNPRICED_TOKENS, lambda labels: ("", *labels)),  # those of refused usages
    c.DROPPED_VALUES: (book.DROPPED_TIMES, lambda labels: () if labels == ("time",) else None),
}


def _request(sums: Sums, record: b.Request) -> None:
    labels = record.method, record.route, record.status_code
    if record.count:
        sums.count(c.REQUESTS, labels, record.count)
        if record.failure:
            sums.count(c.FAILED_REQUESTS, (record.route, record.failure), record.count)
    if record.response_bytes is not None:
        sums.count(c.RESPONSE_BYTES, (record.route,), record.response_bytes, record.count)
    if record.durations:
        sums.observe(c.REQUEST_DURATION, labels, record.durations)
    if record.first_bytes:
        sums.observe(c.TIME_TO_FIRST_BYTE, labels[:2], record.first_bytes)
    if record.handler_durations:
        sums.observe(c.HANDLER_DURATION, labels[:2], record.handler_durations)


def _dropped_lines(sums: Sums, record: b.DroppedLines) -> None:
    sums.count(c.DROPPED_LINES, (), record.lines)


def _count_and_observe(sums: Sums, record: Any) -> None:
    for metric in METRICS_OF[type(record)]:
        labels = tuple([getattr(record, name) for name in metric.labels[1:]])
        if metric.kind == "counter":
            sums.count(metric, labels, record.count)
        elif record.durations or record.duration is not None:
            sums.observe(metric, labels, record.durations or (record.duration,))


#: The record types that count by themselves. Their order does not matter, so that they are summed up.
COUNTED: Mapping[type, Callable[[Sums, Any], None]] = {
    **dict.fromkeys(METRICS_OF, _count_and_observe),
    b.Request: _request,
    b.DroppedLines: _dropped_lines,
}


def enter_usage(ledger: SourceLedger, record: b.Usage) -> None:
    # A known time is not stored as `usage_at`: records that can wait are not entered in their order.
    at = usage_time(ledger, None) if record.at is None else event_time(ledger, record.at)
    count_usage(ledger, record, at)


def count_usage(ledger: SourceLedger, record: b.Usage, at: int, refused: bool = False) -> None:
    """Count a usage. `at` is the time in nanoseconds that selects the budget window and the price.

    `refused` is the same as in `Series.add`. The unpriced tokens of refused usages wait in a sum of their own.
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
        series.add(c.UNPRICED_TOKENS, (ledger.source, *model), unpriced, record.count)
        books.add(book.UNPRICED_TOKENS, (record.app_id, *model), unpriced)


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


def count_run(ledger: SourceLedger, record: b.Run, at: int | None) -> None:
    """Count runs that ended at the time `at` in nanoseconds, perhaps before the lines that are being entered."""
    labels = record.kind, record.app_id, record.status
    ledger.series.add(c.RUNS, (ledger.source, *labels), record.count, record.count)
    ledger.books.add(book.RUNS, labels, record.count, at)
    if record.durations:
        ledger.waiting.observe(c.RUN_DURATION, labels[:2], record.durations)


def enter_active(ledger: SourceLedger, record: b.Active) -> None:
    """Keep the newest number of a worker. The records of a batch have any order."""
    newest = structs.replace(record, at=event_time(ledger, record.at))
    before = ledger.active.pop(record.worker, newest)
    ledger.active[record.worker] = before if (before.at or 0) > (newest.at or 0) else newest
    while len(ledger.active) > _MAX_WORKERS:
        del ledger.active[next(iter(ledger.active))]
