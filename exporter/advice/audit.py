"""What `check` finds about money: usage without a price, and costs that count in no budget."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from exporter.advice.doctor import Finding
from exporter.config.settings import Config
from exporter.ledger.budgets import TOKENS
from exporter.ledger.prices import Prices
from exporter.messages import some, unknown
from parsers.batch import UNKNOWN, Active, OfSpan, ReceivedItems, Record, Usage

_NAMED_MODELS = 5

#: The age in days up to which a price list counts as current.
_CURRENT_DAYS = 90


def audit(config: Config, records: Mapping[str, Sequence[Record]]) -> Iterator[Finding]:
    """Check the budgets and the usage. `records` are those of the last lines of the logs, by source."""
    known = [source.name for source in config.sources]
    for budget in config.budgets:
        if (name := budget.match.get("source")) is not None and name not in known:  # nothing is spent, no alert fires
            yield Finding(f"budget {budget.name} stays 0: match: {unknown('source', name, known)}", problem=True)
    if config.prices_date is not None and (age := (datetime.now(UTC).date() - config.prices_date).days) > _CURRENT_DAYS:
        yield Finding(
            f"the price list is of {config.prices_date}, {age} days ago: prices may have changed since then, so "
            "take the list of a newer release, or run `make prices`",
            problem=True,
        )
    inner = {name: map(OfSpan.inner, each) for name, each in records.items()}
    usages = {name: found for name, each in inner.items() if (found := [r for r in each if isinstance(r, Usage)])}
    yield from _counted_twice({name: each for name, each in records.items() if name in usages})
    prices = Prices(config.prices)
    if not usages:
        if config.budgets:
            yield Finding("no log contains token usage at its end: budgets do not change until one does")
        return
    currencies = [
        (source, usage.model, _currency(prices, usage)) for source, found in usages.items() for usage in found
    ]
    yield from _without_rate(config, currencies)
    unpriced = sorted({model for _, model, code in currencies if code is None} - {UNKNOWN})
    if unpriced:
        start = "add one, see docs/money.md" if config.prices_date else "start with the list in deploy/prices.toml"
        yield Finding(
            f"some tokens of {some(unpriced, _NAMED_MODELS)} have no price: the log reports none, and no "
            f"[[price]] gives one ({start})"
        )
    everywhere = [budget.name for budget in config.budgets if "source" not in budget.match]
    if everywhere and len(usages) > 1:
        yield Finding(
            f"budget {', '.join(everywhere)} sums over the sources {', '.join(usages)}; if two of them report the "
            f'same calls, choose one: match = {{ source = "{next(iter(usages))}" }}'
        )


def _counted_twice(records: Mapping[str, Iterable[Record]]) -> Iterator[Finding]:
    """The sources that may report the same calls: a receiver's, and the proxy's or the enterprise telemetry's."""
    types = {name: {type(record) for record in each} for name, each in records.items()}
    received = [name for name, found in types.items() if ReceivedItems in found]
    for other in sorted(types.keys() - received) if received else ():
        reporter = "the proxy" if Active in types[other] else "the enterprise telemetry or another log"
        yield Finding(
            f"sources {', '.join(received)} (tracing) and {other} ({reporter}) may report the same model calls: do not "
            "sum over them, choose one for each budget and panel"
        )


def _without_rate(config: Config, currencies: Iterable[tuple[str, str, str | None]]) -> Iterator[Finding]:
    """Costs in a currency that cannot be exchanged into the currency of any budget."""
    units = sorted({budget.unit for budget in config.budgets} - {TOKENS})
    sources = {code: source for source, _, code in currencies if code is not None and units}
    for code, source in sources.items():
        if code == UNKNOWN:
            yield Finding(f"source {source} reports costs without a currency: they count in no budget")
        elif all(config.exchange.convert(Decimal(1), code, unit) is None for unit in units):
            yield Finding(
                f"costs in {code} (source {source}) count in no budget: add the rates of {code} and of a budget's "
                f"currency ({', '.join(units)}) to USD to [exchange]",
                problem=True,
            )


def _currency(prices: Prices, usage: Usage) -> str | None:
    """The currency of a usage's cost, from the log or from the price list; None without a cost."""
    if usage.cost is not None:
        return usage.currency
    price = prices.find(usage, time.time_ns() if usage.at is None else max(0, min(usage.at, time.time_ns())))
    return price.currency if price is not None and price.priced(usage)[0] is not None else None
