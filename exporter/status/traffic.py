"""The requests of the last minutes, by source and by route, computed from two snapshots of the ledger."""

from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.exponential import merge, quantile
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.quantile import merged
from exporter.status.history import History

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
    if oldest is not None and at > oldest[0]:
        period = Period(snapshot, oldest[1], at - oldest[0])
        if _counts_by_route(period, c.REQUESTS):
            return period
    return Period(snapshot, None, 0.0)


def route_rows(period: Period) -> tuple[RouteRow, ...]:
    """The routes with the most requests in the period, the most frequent one first."""
    requests = _counts_by_route(period, c.REQUESTS)
    failed = _counts_by_route(period, c.FAILED_REQUESTS)
    durations = _buckets_by_route(period, c.REQUEST_DURATION)
    handler_times = _buckets_by_route(period, c.HANDLER_DURATION)
    rows = []
    for key, count in requests.most_common(_MAX_ROUTES):
        is_handler_time = key not in durations and key in handler_times
        p95 = quantile(0.95, handler_times[key] if is_handler_time else durations.get(key, {}))
        rate = count / period.span if period.span else 0.0
        source, route = key
        rows.append(RouteRow(source, route, count, rate, failed[key], p95, is_handler_time))
    return tuple(rows)


def traffic_rows(period: Period) -> tuple[TrafficRow, ...]:
    """The sources with requests to Dify in the period, the one with the most requests first."""
    requests: Counter[str] = Counter()
    for (source, route), count in _counts_by_route(period, c.REQUESTS).items():
        requests[source] += count if is_served(route) else 0
    reasons: dict[str, Counter[str]] = {}
    for (source, route, reason), count in _increases(period, c.FAILED_REQUESTS, lambda labels: labels).items():
        if is_failure(route, reason):
            reasons.setdefault(source, Counter())[reason] += count
    durations: dict[str, dict[int, int]] = {}
    for (source, route), buckets in _buckets_by_route(period, c.REQUEST_DURATION).items():
        if is_served(route):
            merge(durations.setdefault(source, {}), buckets)
    rows = []
    for source, count in requests.most_common():
        of_source = reasons.get(source, Counter())
        reason = next((reason for reason, _ in of_source.most_common(1)), "")
        p95 = quantile(0.95, durations.get(source, {}))
        rate = count / period.span if period.span else 0.0
        rows.append(TrafficRow(source, count, rate, of_source.total(), reason, p95))
    return tuple(row for row in rows if row.requests)


def is_served(route: str) -> bool:
    """Whether requests of a route are requests to Dify."""
    return route not in _NOT_SERVED


def is_failure(route: str, reason: str) -> bool:
    """Whether a failed request counts as a failure of Dify."""
    return is_served(route) and reason != "client_closed"


def _increases(
    period: Period, metric: c.Metric, key_of: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> Counter[tuple[str, ...]]:
    """The increase of a counter in the period, by a part of its labels."""
    increases: Counter[tuple[str, ...]] = Counter()
    earlier_values = period.earlier.counters[metric] if period.earlier else {}
    for labels, value in period.snapshot.counters[metric].items():
        if increase := int(value - earlier_values.get(labels, 0)):
            increases[key_of(labels)] += increase
    return increases


def _counts_by_route(period: Period, metric: c.Metric) -> Counter[tuple[str, ...]]:
    """The increase of a counter by source and route."""
    route = metric.labels.index("route")
    return _increases(period, metric, lambda labels: (labels[0], labels[route]))


def _buckets_by_route(period: Period, metric: c.Metric) -> dict[tuple[str, ...], dict[int, int]]:
    """The increase of the exponential buckets of a histogram in the period, by source and route."""
    return merged(period.snapshot, metric, lambda labels: (labels[0], labels[2]), period.earlier)
