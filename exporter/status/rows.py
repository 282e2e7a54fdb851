"""The data of the status page, computed from a snapshot of the ledger, the history and the sources."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from exporter import catalogue as c
from exporter.advice import alerts
from exporter.config.settings import Config
from exporter.ledger import budgets
from exporter.ledger.snapshot import Snapshot
from exporter.status.failures import FailureRow, UnparsedLine
from exporter.status.history import Point, Totals, rates, totals_by_source
from exporter.status.traffic import DayRow, RouteRow, TrafficRow

if TYPE_CHECKING:
    from exporter.tail.source import Source

_MAX_MODELS = 20


class SourceRow(Struct, frozen=True):
    """A source. `lines_rate` is per second, `last_line_at` in seconds since the epoch.

    `errors` counts the errors of reading its files, by reason. `charts` has the result of `rates` for each field of
    `Totals` that is drawn.
    """

    name: str
    paths: tuple[str, ...]
    up: bool
    files: int
    lag_bytes: int
    errors: Mapping[str, int]
    totals: Totals
    lines_rate: float
    last_line_at: float | None
    unparsed: tuple[UnparsedLine, ...]
    charts: Mapping[str, Sequence[tuple[float, float]]]


class ModelRow(Struct, frozen=True):
    """The usage of a model by an app. `cost` is a list of currency and amount."""

    source: str
    app: str
    model: str
    tokens: int
    cost: tuple[tuple[str, Decimal], ...]


class BudgetRow(Struct, frozen=True):
    """A budget and its current window. Amounts are in `unit` ("tokens" or a currency), `ends_at` since the epoch.

    `projected` is None at the start of a window, when a projection would be too uncertain.
    """

    name: str
    window: str
    unit: str
    limit: float
    spent: float
    projected: float | None
    ends_at: float

    @property
    def is_overspent(self) -> bool:
        return self.spent > self.limit


class Status(Struct, frozen=True):
    """The data of the page. `span` is the time in seconds that `routes` and `traffic` cover; 0 means everything
    read so far. `chart_range` is the key of `RANGES` that the charts show.

    `progress` is the bytes that the first pass has read and the bytes that it has to read. Times are in seconds since
    the epoch. `today` is the source with the most tokens today; None if no line of today has any. `missing` holds
    sentences on what no log contains, each with the names of the sources that could report it.
    """

    version: str
    now: float
    ready: bool
    progress: tuple[int, int]
    reload_problems: tuple[str, ...]
    loaded_at: float
    chart_range: str
    sources: tuple[SourceRow, ...]
    missing: Mapping[str, Sequence[str]]
    span: float
    routes: tuple[RouteRow, ...]
    traffic: tuple[TrafficRow, ...]
    today: DayRow | None
    days: tuple[DayRow, ...]
    models: tuple[ModelRow, ...]
    budgets: tuple[BudgetRow, ...]
    failures: tuple[FailureRow, ...]
    verdicts: tuple[alerts.Verdict, ...]


def source_rows(
    sources: Iterable["Source"],
    config: Config,
    snapshot: Snapshot,
    points: Sequence[Point],
    unparsed: Sequence[UnparsedLine],
) -> tuple[SourceRow, ...]:
    """One row per running source that is configured."""
    totals = totals_by_source(snapshot)
    paths = {each.name: each.paths for each in config.sources}
    rows = []
    for source in (source for source in sources if source.name in paths):
        name = source.name
        charts = {drawn: rates(points, name, drawn) for drawn in ("lines", "requests", "failed")}
        rows.append(
            SourceRow(
                name,
                paths[name],
                source.up,
                source.files,
                source.lag,
                dict(source.errors),
                totals.get(name, Totals()),
                charts["lines"][-1][1] if charts["lines"] else 0.0,
                snapshot.last_at.get(name),
                tuple(line for line in unparsed if line.source == name),
                charts,
            )
        )
    return tuple(rows)


def model_rows(snapshot: Snapshot, config: Config) -> tuple[ModelRow, ...]:
    """The models with the most tokens of everything read so far, the largest first."""
    tokens: Counter[tuple[str, str, str, str]] = Counter()
    for (source, app_id, provider, model, _), count in snapshot.counters[c.TOKENS_USED].items():
        tokens[source, app_id, provider, model] += int(count)
    costs: dict[tuple[str, str, str, str], dict[str, Decimal]] = {}
    for (source, app_id, provider, model, currency, _), amount in snapshot.counters[c.COST].items():
        model_costs = costs.setdefault((source, app_id, provider, model), {})
        model_costs[currency] = model_costs.get(currency, Decimal(0)) + amount
    rows = []
    for key, total in tokens.most_common(_MAX_MODELS):
        source, app_id, provider, model = key
        app = config.apps[app_id].name if app_id in config.apps else ""
        cost = tuple(sorted(costs.get(key, {}).items()))
        rows.append(ModelRow(source, app or app_id, f"{provider} / {model}", total, cost))
    return tuple(rows)


def budget_rows(snapshot: Snapshot, config: Config, now: float) -> tuple[BudgetRow, ...]:
    """The configured budgets. `now` is in seconds since the epoch."""
    values = budgets.gauges(config.budgets, config.exchange, snapshot.spent, now)
    return tuple(
        BudgetRow(
            name,
            window,
            unit,
            limit,
            values[c.BUDGET_SPENT][name, window, unit],
            values[c.BUDGET_PROJECTED].get((name, window, unit)),
            values[c.BUDGET_WINDOW_END][name, window, unit],
        )
        for (name, window, unit), limit in values[c.BUDGET_LIMIT].items()
    )
