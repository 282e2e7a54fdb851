"""What `check` finds about money: usage that no price, and costs that no budget, will ever see."""

import time
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from exporter.advice.doctor import Finding, sample
from exporter.config.settings import Config, SourceConfig
from exporter.ledger.budgets import TOKENS
from exporter.ledger.prices import Prices
from exporter.messages import unknown
from exporter.replay.inputs import InputError
from exporter.tail.globs import tailed
from parsers.batch import UNKNOWN, Usage

_NAMED_MODELS = 5


def audit(config: Config) -> Iterator[Finding]:
    """Of the budgets, and of the usage that the ends of the logs tell of."""
    yield from _unfed(config)
    usages = {source.name: list(_usages(source)) for source in config.sources}
    usages = {name: found for name, found in usages.items() if found}
    prices = Prices(config.prices)
    if not usages:
        if config.budgets:
            yield Finding("no log carries token usage at its end: budgets stay as they are until one does")
        return
    currencies = [
        (source, usage.model, _currency(prices, usage)) for source, found in usages.items() for usage in found
    ]
    yield from _unseen(config, currencies)
    yield from _unpriced(sorted({model for _, model, code in currencies if code is None} - {UNKNOWN}))
    everywhere = [budget.name for budget in config.budgets if "source" not in budget.match]
    if everywhere and len(usages) > 1:
        yield Finding(
            f"budget {', '.join(everywhere)} adds up what the sources {', '.join(usages)} tell; where two of them tell "
            f'of the same calls, choose one: match = {{ source = "{next(iter(usages))}" }}'
        )


def _unfed(config: Config) -> Iterator[Finding]:
    """Budgets of a source that is none: nothing is ever spent in them, and no alert says so."""
    known = [source.name for source in config.sources]
    for budget in config.budgets:
        if (name := budget.match.get("source")) is not None and name not in known:
            yield Finding(f"budget {budget.name} stays 0: match: {unknown('source', name, known)}", problem=True)


def _usages(source: SourceConfig) -> Iterator[Usage]:
    for file in sorted(tailed(source.paths, source.log_patterns)):
        try:
            batch = source.parser.parse(sample(file), final=True)
        except InputError:  # said by doctor.examine
            continue
        yield from (record for record in batch.records if isinstance(record, Usage))


def _unseen(config: Config, currencies: Iterable[tuple[str, str, str | None]]) -> Iterator[Finding]:
    """Costs in a currency from which no rate leads to a budget."""
    units = sorted({budget.unit for budget in config.budgets} - {TOKENS})
    sources = {code: source for source, _, code in currencies if code is not None and units}
    for code, source in sources.items():
        if code == UNKNOWN:
            yield Finding(f"source {source} reports costs without a currency: no budget sees them")
        elif all(config.exchange.convert(Decimal(1), code, unit) is None for unit in units):
            yield Finding(
                f"costs in {code} (source {source}) are seen by no budget: add what one {code} and one of a budget's "
                f"currency ({', '.join(units)}) is worth in USD to [exchange]",
                problem=True,
            )


def _currency(prices: Prices, usage: Usage) -> str | None:
    """The currency in which a usage costs something, by the log or by the list."""
    if usage.cost is not None:
        return usage.currency
    price = prices.find(usage, time.time_ns() if usage.at is None else max(0, min(usage.at, time.time_ns())))
    return price.currency if price is not None and price.priced(usage)[0] is not None else None


def _unpriced(models: Sequence[str]) -> Iterator[Finding]:
    if models:
        more = f" and {len(models) - _NAMED_MODELS} more" if len(models) > _NAMED_MODELS else ""
        yield Finding(
            f"some tokens of {', '.join(models[:_NAMED_MODELS])}{more} have no price: the log reports none, and no "
            "[[price]] decides one (deploy/prices.toml is a list to begin with)"
        )
