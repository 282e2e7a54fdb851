"""The data of the status page, made from a snapshot, the last hour and the sources."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import add, sub

from msgspec import Struct

from exporter import catalogue as c
from exporter.advice import alerts
from exporter.config.settings import Config
from exporter.ledger import budgets
from exporter.ledger.ledger import Snapshot
from exporter.metrics.quantile import quantile
from exporter.status.failures import Failure, FailureBuffer, Unparsed
from exporter.status.history import History, Point, Totals, counted, rates
from parsers.values.numbers import SECOND

_ROUTES = 25
_MODELS = 20

#: Counts what the page shows as today, beside the configured budgets.
TODAY = budgets.Budget(name="today", window="day", unit=budgets.TOKENS, limit="1")


class SourceState(Struct, frozen=True):
    """What only the source itself knows; `missing` holds sentences on what its log does not contain."""

    name: str
    paths: tuple[str, ...]
    up: bool
    files: int
    lag_bytes: int
    errors: Mapping[str, int]
    missing: tuple[str, ...]


class SourceRow(Struct, frozen=True):
    """Rates per second; `charts` by name, as `rates` gives them. `last_line_at` in seconds since the epoch."""

    state: SourceState
    totals: Totals
    lines_rate: float
    last_line_at: float | None
    unparsed: tuple[Unparsed, ...]
    charts: Mapping[str, Sequence[tuple[float, float]]]


class RouteRow(Struct, frozen=True):
    """`p95` in seconds; `of_handler` where it comes from Dify's own access line."""

    source: str
    route: str
    requests: int
    rate: float
    failed: int
    p95: float | None
    of_handler: bool


class ModelRow(Struct, frozen=True):
    source: str
    app: str
    model: str
    tokens: int
    cost: tuple[tuple[str, Decimal], ...]


class BudgetRow(Struct, frozen=True):
    name: str
    window: str
    unit: str
    limit: float
    spent: float
    projected: float | None
    ends_at: float


class Status(Struct, frozen=True):
    """`span` in seconds is the time that routes and rates cover, 0 for everything that was ever counted."""

    version: str
    now: float
    ready: bool
    progress: tuple[int, int]
    reload_problems: tuple[str, ...]
    loaded_at: float
    sources: tuple[SourceRow, ...]
    span: float
    routes: tuple[RouteRow, ...]
    today: Mapping[str, int | Decimal]
    models: tuple[ModelRow, ...]
    budgets: tuple[BudgetRow, ...]
    failures: tuple[Failure, ...]
    verdicts: tuple[alerts.Verdict, ...]


def source_rows(
    states: Iterable[SourceState],
    snapshot: Snapshot,
    points: Sequence[Point],
    recent: FailureBuffer,
) -> tuple[SourceRow, ...]:
    unparsed, totals = recent.unparsed(), counted(snapshot)
    rows = []
    for state in states:
        charts = {name: rates(points, state.name, name) for name in ("lines", "requests", "failed")}
        rows.append(
            SourceRow(
                state,
                totals.get(state.name, Totals()),
                charts["lines"][-1][1] if charts["lines"] else 0.0,
                snapshot.last_at.get(state.name),
                tuple(each for each in unparsed if each.source == state.name),
                charts,
            )
        )
    return tuple(rows)


def route_rows(snapshot: Snapshot, at: float, history: History) -> tuple[float, tuple[RouteRow, ...]]:
    """The span (as in Status) and the routes with most requests: of the last five minutes, or of all time after quiet
    minutes.
    """
    before = history.before()
    if before is not None and at > before[0]:
        span = at - before[0]
        rows = _routes(snapshot, before[1], span)
        if rows:
            return span, rows
    return 0.0, _routes(snapshot, None, 0.0)


def _routes(snapshot: Snapshot, before: Snapshot | None, span: float) -> tuple[RouteRow, ...]:
    requests = _by_route(snapshot, before, c.REQUESTS, 2)
    failed = _by_route(snapshot, before, c.FAILED_REQUESTS, 1)
    whole = _durations(snapshot, before, c.REQUEST_DURATION)
    handler = _durations(snapshot, before, c.HANDLER_DURATION)
    rows = []
    for key, count in requests.most_common(_ROUTES):
        of_handler = key not in whole and key in handler
        metric, counts = (c.HANDLER_DURATION, handler.get(key)) if of_handler else (c.REQUEST_DURATION, whole.get(key))
        p95 = quantile(0.95, snapshot.bounds[metric], counts) if counts else None
        rate = count / span if span else 0.0
        rows.append(RouteRow(*key, count, rate, failed[key], p95, of_handler))
    return tuple(rows)


def _by_route(snapshot: Snapshot, before: Snapshot | None, metric: c.Metric, place: int) -> Counter[tuple[str, str]]:
    """Counts since `before`, by source and route; the route is the label at `place`."""
    found: Counter[tuple[str, str]] = Counter()
    earlier = before.counters[metric] if before else {}
    for labels, value in snapshot.counters[metric].items():
        if more := int(value - earlier.get(labels, 0)):
            found[labels[0], labels[place]] += more
    return found


def _durations(snapshot: Snapshot, before: Snapshot | None, metric: c.Metric) -> dict[tuple[str, str], list[int]]:
    """Counts per bucket, without the sum."""
    found: dict[tuple[str, str], list[int]] = {}
    earlier = before.histograms[metric] if before else {}
    for labels, (*counts, _) in snapshot.histograms[metric].items():
        more = list(map(sub, counts, earlier[labels][:-1])) if labels in earlier else counts
        if any(more):
            key = labels[0], labels[2]
            found[key] = list(map(add, found[key], more)) if key in found else more
    return found


def today(snapshot: Snapshot, now: float) -> dict[str, int | Decimal]:
    """Tokens and money since midnight UTC, by currency or `tokens`."""
    start, _ = TODAY.window_of(round(now * SECOND))
    return {unit: amount for (at, unit), amount in snapshot.spent.get(TODAY.key, {}).items() if at == start and amount}


def model_rows(snapshot: Snapshot, config: Config) -> tuple[ModelRow, ...]:
    """The models with most tokens of all time, the largest first."""
    tokens: Counter[tuple[str, str, str, str]] = Counter()
    for (source, app_id, provider, model, _), count in snapshot.counters[c.TOKENS_USED].items():
        tokens[source, app_id, provider, model] += int(count)
    costs: dict[tuple[str, str, str, str], dict[str, Decimal]] = {}
    for (source, app_id, provider, model, currency, _), amount in snapshot.counters[c.COST].items():
        of_model = costs.setdefault((source, app_id, provider, model), {})
        of_model[currency] = of_model.get(currency, Decimal(0)) + amount
    rows = []
    for key, total in tokens.most_common(_MODELS):
        source, app_id, provider, model = key
        app = config.apps[app_id].name if app_id in config.apps else ""
        cost = tuple(costs.get(key, {}).items())
        rows.append(ModelRow(source, app or app_id, f"{provider} / {model}", total, cost))
    return tuple(rows)


def budget_rows(snapshot: Snapshot, config: Config, now: float) -> tuple[BudgetRow, ...]:
    found = budgets.gauges(config.budgets, config.exchange, snapshot.spent, now)
    return tuple(
        BudgetRow(
            name,
            window,
            unit,
            limit,
            found[c.BUDGET_SPENT][name, window, unit],
            found[c.BUDGET_PROJECTED].get((name, window, unit)),
            found[c.BUDGET_WINDOW_END][name, window, unit],
        )
        for (name, window, unit), limit in found[c.BUDGET_LIMIT].items()
    )
