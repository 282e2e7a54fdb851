"""The requests of the last minutes by source and route, from two snapshots of the ledger, and the last days, from the
books of the history that are not in the archive yet.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger import book
from exporter.ledger.exponential import merge, quantile
from exporter.ledger.history import NO_DAY
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.quantile import counted, merged
from exporter.status.history import History
from parsers.values.times import zone

_MAX_ROUTES = 25

#: Requests of these routes are no requests to Dify. They do not count for the share of failures, as in the alerts.
_NOT_SERVED = frozenset({"static", "invalid"})


class RouteRow(Struct, frozen=True):
    """A route of a source. `rate` is requests per second, `p95` is in seconds.

    `is_handler_time` is True if `p95` is from Dify's own access log, which measures a stream only until it starts.
    """

    source: str
    route: str
    requests: int
    rate: float
    failed: int
    p95: float | None
    is_handler_time: bool


class TrafficRow(Struct, frozen=True):
    """The requests of a source to Dify, counted as the alert DifyHighErrorRate counts them.

    Front-end files, invalid requests, and failures of the kind `client_closed` are left out. `reason` is the most
    frequent reason of the failures, or "". `rate` is per second, `p95` is in seconds.
    """

    source: str
    requests: int
    rate: float
    failed: int
    reason: str
    p95: float | None


class Period(Struct, frozen=True):
    """What was counted between two snapshots. Without an `earlier` one it is everything, and `span` is 0 seconds."""

    snapshot: Snapshot
    earlier: Snapshot | None
    span: float


def recent(snapshot: Snapshot, at: float, history: History) -> Period:
    """The last five minutes; if there were no requests in them, everything read so far.

    `at` is the current time on the clock of the history.
    """
    oldest = history.oldest_snapshot()
    if oldest is not None and at > oldest[0] and counted(snapshot, c.REQUESTS, _route_of, oldest[1]):
        return Period(snapshot, oldest[1], at - oldest[0])
    return Period(snapshot, None, 0.0)


def route_rows(period: Period) -> tuple[RouteRow, ...]:
    """The routes with the most requests in the period, the most frequent one first."""
    now, earlier = period.snapshot, period.earlier
    failed = counted(now, c.FAILED_REQUESTS, lambda labels: (labels[0], labels[1]), earlier)
    durations = merged(now, c.REQUEST_DURATION, _route_of, earlier)
    handler_times = merged(now, c.HANDLER_DURATION, _route_of, earlier)
    rows = []
    for key, count in counted(now, c.REQUESTS, _route_of, earlier).most_common(_MAX_ROUTES):
        is_handler_time = key not in durations and key in handler_times
        p95 = quantile(0.95, handler_times[key] if is_handler_time else durations.get(key, {}))
        rate = count / period.span if period.span else 0.0
        rows.append(RouteRow(*key, count, rate, failed[key], p95, is_handler_time))
    return tuple(rows)


def traffic_rows(period: Period) -> tuple[TrafficRow, ...]:
    """The sources with requests to Dify in the period, the one with the most requests first."""
    now, earlier = period.snapshot, period.earlier

    def source_of(labels: Labels) -> str | None:
        return labels[0] if is_served(labels[2]) else None

    reasons: dict[str, Counter[str]] = {}
    for (source, route, reason), count in counted(now, c.FAILED_REQUESTS, tuple, earlier).items():
        if is_failure(route, reason):
            reasons.setdefault(source, Counter())[reason] += count
    durations = merged(now, c.REQUEST_DURATION, source_of, earlier)
    rows = []
    for source, count in counted(now, c.REQUESTS, source_of, earlier).most_common():
        of_source = reasons.get(source, Counter())
        reason = next((reason for reason, _ in of_source.most_common(1)), "")
        p95 = quantile(0.95, durations.get(source, {}))
        rate = count / period.span if period.span else 0.0
        rows.append(TrafficRow(source, count, rate, of_source.total(), reason, p95))
    return tuple(rows)


def _route_of(labels: Labels) -> tuple[str, str]:
    """Source and route of a series with the labels source, method, route, …"""
    return labels[0], labels[2]


def is_served(route: str) -> bool:
    return route not in _NOT_SERVED


def is_failure(route: str, reason: str) -> bool:
    return is_served(route) and reason != "client_closed"


_MAX_ROWS = 60


class DayRow(Struct, frozen=True):
    """A source on one day. `day` is a date in `timezone`, `cost` a list of currency and amount, `p95` in seconds.

    Requests and failures are counted as in `TrafficRow`.
    """

    day: str
    timezone: str
    source: str
    requests: int
    failed: int
    p95: float | None
    tokens: int
    cost: tuple[tuple[str, Decimal], ...]


def day_rows(books: Mapping[book.BookKey, book.Entries]) -> tuple[DayRow, ...]:
    """The days with requests or tokens, the newest first."""
    keys = sorted((day, timezone, source) for timezone, day, source in books if day != NO_DAY)
    rows = (
        _row(day, timezone, source, books[timezone, day, source])
        for day, timezone, source in sorted(keys, key=lambda key: key[0], reverse=True)
    )
    return tuple(row for row in rows if row.requests or row.tokens or row.cost)[:_MAX_ROWS]


def today_row(rows: Sequence[DayRow], now: float, timezone: str) -> DayRow | None:
    """The source with the most tokens today. `now` is in seconds since the epoch.

    Sources are not added up: several logs may report the same calls.
    """
    today = datetime.fromtimestamp(now, zone(timezone)).date().isoformat()
    rows = [row for row in rows if (row.day, row.timezone) == (today, timezone) and (row.tokens or row.cost)]
    return max(rows, key=lambda row: row.tokens, default=None)


def _row(day: str, timezone: str, source: str, entries: book.Entries) -> DayRow:
    requests = failed = tokens = 0
    cost: dict[str, Decimal] = {}
    durations: dict[int, int] = {}
    for (table, *values), amount in entries.items():
        if isinstance(amount, dict):
            if table == book.DURATIONS and is_served(values[0]):
                merge(durations, amount)
        elif table == book.REQUESTS and is_served(values[0]):
            requests += int(amount)
        elif table == book.FAILED_REQUESTS and is_failure(values[0], values[1]):
            failed += int(amount)
        elif table == book.TOKENS:
            tokens += int(amount)
        elif table == book.COST:
            currency = values[-1]
            cost[currency] = cost.get(currency, Decimal(0)) + amount
    return DayRow(
        day, timezone, source, requests, failed, quantile(0.95, durations), tokens, tuple(sorted(cost.items()))
    )
