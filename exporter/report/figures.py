"""The figures of a report: which numbers of a book make which figure, and how rows add them up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from exporter.config.settings import AppConfig
from exporter.ledger import book, exponential
from exporter.ledger.book import Entries
from exporter.ledger.money import Exchange
from exporter.ledger.prices import Price
from exporter.ledger.series import Labels
from exporter.metrics.quantile import quantiles
from exporter.report.gather import Dated
from parsers.batch import UNKNOWN

#: The statuses of runs that failed: Dify's own, and those of its messages and nodes.
FAILED = frozenset({"failed", "error", "exception"})

#: The figures of each table of a book, in the order of the report.
FIGURES: Mapping[str, tuple[str, ...]] = {
    book.REQUESTS: ("requests", "server_errors"),
    book.FAILED_REQUESTS: ("failed_requests",),
    book.DURATIONS: ("duration",),
    book.RUNS: ("runs", "failed_runs"),
    book.ERRORS: ("errors",),
    book.FIRST_TOKENS: ("time_to_first_token",),
    book.TOKENS: ("input_tokens", "output_tokens", "unsplit_tokens"),
    book.COST: ("cost",),
    book.UNPRICED_TOKENS: ("unpriced_tokens",),
}

QUANTILES = ("duration", "time_to_first_token")

#: Money by currency, exact.
Money = dict[str, Decimal]


class Options(Struct, frozen=True):
    """What a report shows beside its rows. `prices` are those of the models of `--what-if`, the newest first."""

    compare: bool = False
    prices: Mapping[str, list[Price]] = {}
    currency: str = ""
    exchange: Exchange = Exchange()
    apps: Mapping[str, AppConfig] = {}


class Row(Struct):
    """The sums of one row. Only figures that were counted have a value."""

    counts: dict[str, int] = field(default_factory=dict)
    durations: dict[str, dict[int, int]] = field(default_factory=dict)
    cost: Money = field(default_factory=dict)
    what_if: dict[str, Money] = field(default_factory=dict)

    def as_data(self, figures: Iterable[str], models: Iterable[str]) -> dict[str, Any]:
        """The figures as they are printed: a count that is not known is 0, quantiles without data are left out."""
        data: dict[str, Any] = {}
        for name in figures:
            if name == "cost":
                data[name] = money(self.cost)
            elif name not in QUANTILES:
                data[name] = self.counts.get(name, 0)
            elif name in self.durations:
                found = quantiles(self.durations[name])
                data[name] = {quantile: float(f"{value:.3g}") for quantile, value in found.items()}
        if "input_tokens" in data and (wanted := list(models)):
            data["what_if"] = {model: money(self.what_if.get(model, {})) for model in wanted}
        return data


def money(amounts: Money) -> dict[str, str]:
    return {code: f"{amount.normalize():f}" for code, amount in sorted(amounts.items())}


def figures_of(group: Iterable[str]) -> list[str]:
    wanted = set(group)
    return [name for table, names in FIGURES.items() if wanted <= labels_of(table) for name in names]


def labels_of(table: str) -> set[str]:
    """The labels of a table of a book that a report can group by."""
    labels = {"source", *book.TABLES[table]} - {"status", "token_type", "currency"}
    return labels | {"app", "team"} if "app_id" in labels else labels


class Rows:
    """Adds up books to rows. `rows` is keyed by the bucket's name and the values of the group's labels.

    `unpriced` counts, for each model of a comparison of prices, the tokens that have no price there.
    """

    def __init__(self, group: tuple[str, ...], options: Options) -> None:
        self.rows: dict[Labels, Row] = {}
        self.total = Row()
        self.unpriced: dict[str, int] = {}
        self.without_rate: set[str] = set()
        self._group, self._options = group, options
        self._tables = {table for table in FIGURES if set(group) <= labels_of(table)}

    def add(self, time: str, source: str, entries: Entries, day: str) -> None:
        """Add a book to the rows of the bucket `time`. `day` is the date of the book, which decides the prices."""
        for (table, *values), amount in entries.items():
            if table in self._tables:
                labels = dict(zip(book.TABLES[table], values, strict=True), source=source)
                if "app_id" in labels:
                    app = self._options.apps.get(labels["app_id"], AppConfig())
                    labels |= {"app": app.name or labels["app_id"], "team": app.team or UNKNOWN}
                key = (time, *(labels[name] for name in self._group))
                if key not in self.rows:
                    self.rows[key] = Row()
                for row in (self.rows[key], self.total):
                    self._count(row, table, labels, amount)
                if table == book.TOKENS:
                    self._suppose(self.rows[key], labels["token_type"], int(amount), day)  # type: ignore[arg-type]

    def _count(self, row: Row, table: str, labels: Mapping[str, str], amount: Any) -> None:
        if table in (book.DURATIONS, book.FIRST_TOKENS):
            exponential.merge(row.durations.setdefault(FIGURES[table][0], {}), amount)
        elif table == book.COST:
            self._spend(row.cost, labels["currency"], Decimal(amount))
        elif table == book.TOKENS:
            _add(row, f"{labels['token_type']}_tokens", amount)
        else:
            _add(row, FIGURES[table][0], amount)
            if table == book.RUNS:
                _add(row, "failed_runs", amount if labels["status"] in FAILED else 0)
            elif table == book.REQUESTS:
                _add(row, "server_errors", amount if labels["status_class"] == "5xx" else 0)

    def _spend(self, spent: Money, code: str, amount: Decimal) -> None:
        if currency := self._options.currency:
            converted = self._options.exchange.convert(amount, code, currency)
            if converted is None:
                self.without_rate.add(code)
            else:
                code, amount = currency, converted
        spent[code] = spent.get(code, Decimal(0)) + amount

    def _suppose(self, row: Row, token_type: str, tokens: int, day: str) -> None:
        for model, prices in self._options.prices.items():
            price = next((each for each in prices if each.since.isoformat() <= day), None)
            if price is None or (token_type == "unsplit" and Decimal(price.input) != Decimal(price.output)):
                self.unpriced[model] = self.unpriced.get(model, 0) + tokens
                continue
            rate = Decimal(price.output if token_type == "output" else price.input)
            for each in (row, self.total):
                self._spend(each.what_if.setdefault(model, {}), price.currency, rate * tokens / 1_000_000)


def _add(row: Row, name: str, amount: int | Decimal) -> None:
    row.counts[name] = row.counts.get(name, 0) + int(amount)


class Failures:
    """The failures of some books. `whole` has the requests and runs of each source, failed or not."""

    def __init__(self, books: Iterable[Dated]) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.whole: Counter[tuple[str, str]] = Counter()
        for each in books:
            for (table, *labels), amount in each.entries.items():
                if table in _FIGURES and not isinstance(amount, dict):
                    figure, reason = _FIGURES[table], labels[-1]
                    if table in (book.REQUESTS, book.RUNS):
                        self.whole[each.source, figure] += int(amount)
                    if table in (book.FAILED_REQUESTS, book.ERRORS) or (table == book.RUNS and reason in FAILED):
                        self.counts[each.source, figure, reason] += int(amount)

    def as_data(self, before: "Failures | None" = None) -> list[dict[str, Any]]:
        """One entry per source, figure and reason, the most frequent first. `before` are those of the span before.

        `share` is the part of all requests or runs of the source; error records have none.
        """
        keys = self.counts.keys() | (before.counts.keys() if before else set())
        return [
            {"source": source, "figure": figure, "reason": reason, "count": self.counts[source, figure, reason]}
            | (
                {"share": round(self.counts[source, figure, reason] / whole, 6)}
                if (whole := self.whole[source, figure])
                else {}
            )
            | ({"previous": before.counts[source, figure, reason]} if before else {})
            for source, figure, reason in sorted(
                keys, key=lambda key: (key[0], _ORDER.index(key[1]), -self.counts[key], key)
            )
        ]


_ORDER = ("failed_requests", "failed_runs", "errors")
_FIGURES: Mapping[str, str] = {
    book.REQUESTS: "failed_requests",
    book.FAILED_REQUESTS: "failed_requests",
    book.RUNS: "failed_runs",
    book.ERRORS: "errors",
}
