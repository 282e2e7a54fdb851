"""Which record that waits for others changes which series: ends of runs, failures of requests, apps of spans."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import structs

from exporter import catalogue as c
from exporter.ledger import book
from exporter.ledger.fold import COUNTED, count_run, usage_time
from exporter.ledger.joins import MAX_AGE, Ended
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.span_apps import AppRecord
from exporter.ledger.waiting import enter_waiting, sum_up
from parsers import batch as b
from parsers.values.numbers import QUARTER


def _opened(ledger: SourceLedger, record: b.Opened) -> None:
    at = event_time(ledger, record.at)
    ledger.joins.open(record if at == record.at else structs.replace(record, at=at))


def _closed(ledger: SourceLedger, record: b.Closed) -> None:
    _count_ended(ledger, ledger.joins.close(record, event_time(ledger, record.at), ledger.file))


def _count_ended(ledger: SourceLedger, found: Iterable[Ended]) -> None:
    """Count a worker's runs whose outcome is final: those with equal labels in a quarter of an hour at once.

    If telemetry reports the same runs with their outcome, only telemetry decides whether a run failed.
    """
    groups: dict[tuple[str, str, str, int], list[Ended]] = {}
    for each in found:
        outcome = "" if ledger.has_telemetry else each.outcome
        status = "failed" if "failed" in (each.status, outcome) else outcome or each.status
        groups.setdefault((each.kind, each.app_id, status, each.at // QUARTER), []).append(each)
    for (kind, app_id, status, _), ended in groups.items():
        durations = tuple([each.duration for each in ended if each.duration is not None])
        count_run(ledger, b.Run(kind, app_id, status, None, len(ended), durations), at=ended[0].at)


def _trace_error(ledger: SourceLedger, record: b.TraceError) -> None:
    failed = ledger.joins.fail(record, event_time(ledger, record.at))
    if failed is not None:
        _failed_requests(ledger, *failed, 1)


def _accepted(ledger: SourceLedger, record: b.Accepted) -> None:
    if count := ledger.joins.accept(record):
        _failed_requests(ledger, record.route, record.failure, count)


def _failed_requests(ledger: SourceLedger, route: str, failure: str, count: int) -> None:
    """Count failures of requests that are already in the request counter."""
    ledger.series.add(c.FAILED_REQUESTS, (ledger.source, route, failure), count, count)
    ledger.books.add(book.FAILED_REQUESTS, (route, failure), count)


def _count_lost(ledger: SourceLedger, found: Iterable[b.Opened]) -> None:
    groups: dict[tuple[str, str, int], list[b.Opened]] = {}
    for each in found:
        groups.setdefault((each.kind, each.app_id, (each.at or 0) // QUARTER), []).append(each)
    for (kind, app_id, _), lost in groups.items():
        ledger.series.add(c.JOINS_EXPIRED, (ledger.source,), len(lost))
        count_run(ledger, b.Run(kind, app_id, "lost", None, len(lost)), at=lost[0].at)


def trim(ledger: SourceLedger) -> None:
    """Count the runs that no longer fit into the joins."""
    lost, ended = ledger.joins.trim()
    _count_lost(ledger, lost)
    _count_ended(ledger, ended)


def _span_app(ledger: SourceLedger, record: b.SpanApp) -> None:
    span = structs.replace(record, at=event_time(ledger, record.at))
    ledger.joins.decided += ledger.joins.spans.add_span(span)


def _of_span(ledger: SourceLedger, record: b.OfSpan) -> None:
    ledger.joins.decided += ledger.joins.spans.add_record(record.parent, record.record, event_time(ledger, record.at))


def enter_decided(ledger: SourceLedger) -> None:
    """Count the records whose app is decided. It stays unknown if no line named it in time.

    A usage that has waited belongs to the day of its own time.
    """
    decided, ledger.joins.decided = [*ledger.joins.decided, *ledger.joins.spans.trim(ledger.joins.capacity)], []
    if expired := sum(record.count for record in decided if record.app_id == b.UNKNOWN):
        ledger.series.add(c.JOINS_EXPIRED, (ledger.source,), expired)
    groups: defaultdict[int, list[AppRecord]] = defaultdict(list)
    for record in decided:
        at = (record.at if isinstance(record, b.Usage) else None) or usage_time(ledger, None)
        has_time = not isinstance(record, b.Usage) or record.at == at
        groups[at // QUARTER].append(record if has_time else structs.replace(record, at=at))
    for quarter, members in groups.items():
        is_moved = not ledger.books.includes(quarter * QUARTER)
        if is_moved:
            enter_waiting(ledger)
            ledger.books.record_time = quarter * QUARTER
        for rest in sum_up(ledger, members):
            COUNTED[type(rest)](ledger, rest)
        if is_moved:
            enter_waiting(ledger)
            ledger.books.record_time = None


def advance(ledger: SourceLedger, last: int, newest: int | None) -> None:
    """Advance the event time of the current file, and end the joins that are due by then. Times: see `Reached`."""
    last, now = event_time(ledger, last), event_time(ledger, None)
    ledger.last_at = max(ledger.last_at, last)
    ledger.reached.advance(ledger.file, last, newest, now)
    _count_ended(ledger, ledger.joins.release(ledger.file, last))
    if ledger.joins.has_open:
        by_all = ledger.reached.by_all(now)
        _count_lost(ledger, ledger.joins.expire(by_all))
        ledger.joins.decided += ledger.joins.spans.expire(by_all - MAX_AGE)
        enter_decided(ledger)


def finalize_runs(ledger: SourceLedger, now: int | None) -> None:
    """Count the runs that are final at `now`, the wall clock in nanoseconds.

    If `now` is None, nothing more will be read, so all ended runs are final.
    """
    _count_ended(ledger, ledger.joins.finalize_all() if now is None else ledger.joins.finalize(ledger.reached, now))
    if now is None:
        ledger.joins.decided += ledger.joins.spans.release_all()
        enter_decided(ledger)


#: The record types that wait for others, or that others wait for.
JOINED: Mapping[type, Callable[[SourceLedger, Any], None]] = {
    b.Opened: _opened,
    b.Closed: _closed,
    b.TraceError: _trace_error,
    b.Accepted: _accepted,
    b.SpanApp: _span_app,
    b.OfSpan: _of_span,
}
