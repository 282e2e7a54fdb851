"""Postings: what many records of one source and one span of event time add up to.

A process that parses a part of a log sends postings instead of records. So neither their size nor the work in the
ledger grows with the number of lines. Records whose order matters (the halves of joins, runs) are sent as they are.
Postings and records together change the ledger as the records alone would.

The functions of `exporter.ledger.fold` say what a record changes. Here they change a `Tally` instead of the ledger. It
has no caps, because only the ledger knows which label sets came before.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct, structs

from exporter.catalogue import METRICS, Metric
from exporter.ledger.book import Entries, Entry
from exporter.ledger.budgets import Budgets
from exporter.ledger.histogram import Histogram
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.joins import Joins
from exporter.ledger.post import FOLDS, post
from exporter.ledger.prices import Prices
from exporter.ledger.reached_times import ReachedTimes
from exporter.ledger.series import Labels, Limits, Series
from exporter.ledger.source_books import SourceBooks
from exporter.ledger.source_ledger import SourceLedger
from parsers import batch as b

#: The record types whose order does not matter.
_ADDITIVE = frozenset(
    (
        b.Request, b.UsageMissing, b.FirstToken, b.NodeRun, b.Task, b.TaskReceived, b.Invocation, b.Failure,
        b.DroppedLines, b.DroppedValue, b.ReceivedItems,
    )
)  # fmt: skip

#: The record types that have an app as a label, and whose order does not matter.
_OF_APPS = (b.UsageMissing, b.FirstToken, b.Usage)
#: Fewer records of a type than this are always added up.
_MANY = 256

_METRICS = {metric.name: metric for metric in METRICS}


class Postings(Struct, frozen=True):
    """Counters as amounts and numbers of records, and histograms, by metric and labels; the history; and usages.

    Usages stay records, one per label set and quarter of an hour, because only the ledger knows prices and budgets.
    """

    counters: dict[str, dict[Labels, tuple[int | Decimal, int]]]
    histograms: dict[str, dict[Labels, Histogram]]
    history: Entries
    usages: tuple[b.Usage, ...]

    def enter(self, ledger: SourceLedger) -> None:
        """Enter them into the ledger of their source."""
        post(ledger, self.usages)
        for name, counters in self.counters.items():
            for labels, (amount, records) in counters.items():
                ledger.series.add(_METRICS[name], labels, amount, records)
        for name, histograms in self.histograms.items():
            for labels, histogram in histograms.items():
                ledger.series.add_histogram(_METRICS[name], labels, histogram)
        ledger.books.put(self.history)


class Tally:
    """Adds up the records of one source. `buckets` are the bounds of histograms that are configured, in seconds."""

    def __init__(self, source: str, buckets: Mapping[str, tuple[float, ...]], has_history: bool) -> None:
        self._source, self._buckets = source, buckets
        self._history = HistoryConfig(days=int(has_history))
        self._begin()

    def _begin(self) -> None:
        self._series = _Series(Limits(), _no_clock, self._buckets)
        self._usages: dict[tuple[object, ...], b.Usage] = {}
        books = SourceBooks(History(self._history, Limits(), _no_clock), self._source)
        self._ledger = SourceLedger(
            self._source, self._series, Prices(()), Budgets(), _no_clock, Joins(0), books, ReachedTimes(0)
        )

    def post(self, records: Sequence[b.Record]) -> tuple[b.Record, ...]:
        """Add records up. Returns the records that are not added.

        These are records whose order matters. If most records of a type have different apps, they are not added
        either, because the sums would be larger than the records.
        """
        kept = list[b.Record]()
        records, diverse = _split(records)
        # A usage without a time has that of the usage before it.
        has_times = all(record.at is not None for record in records if isinstance(record, b.Usage))
        for record in records:
            if type(record) in _ADDITIVE:
                FOLDS[type(record)](self._ledger, record)
            elif isinstance(record, b.Usage) and has_times:
                key = record.app_id, record.provider, record.model, record.currency, record.at, *_known(record)
                self._usages[key] = _plus(self._usages[key], record) if key in self._usages else record
            else:
                kept.append(record)
        return (*kept, *diverse)

    def taken(self) -> Postings | None:
        """The sums since the last call; None if there is nothing."""
        counters = {
            metric.name: {labels: (amount, self._series.records[metric, labels]) for labels, amount in found.items()}
            for metric, found in self._series.counters.items()
            if found
        }
        history: dict[Labels, Entry] = {**self._ledger.books.taken()}
        histograms = {metric.name: {**found} for metric, found in self._series.histograms.items() if found}
        usages = tuple(self._usages.values())
        if not (counters or histograms or history or usages):
            return None
        self._begin()
        return Postings(counters, histograms, history, usages)


def _split(records: Sequence[b.Record]) -> tuple[Sequence[b.Record], Sequence[b.Record]]:
    """Return two parts: the records to add up, and those of the types whose records mostly have different apps."""
    of_apps: dict[type, list[Any]] = {kind: [] for kind in _OF_APPS}
    for record in records:
        if type(record) in of_apps:
            of_apps[type(record)].append(record)
    diverse = {
        kind
        for kind, found in of_apps.items()
        if len(found) > _MANY and len({record.app_id for record in found}) > len(found) // 2
    }
    if not diverse:
        return records, ()
    return (
        [record for record in records if type(record) not in diverse],
        [record for record in records if type(record) in diverse],
    )


def _known(usage: b.Usage) -> tuple[bool, ...]:
    values = usage.input_tokens, usage.output_tokens, usage.unsplit_tokens, usage.cost
    return tuple(value is not None for value in values)


def _plus(one: b.Usage, two: b.Usage) -> b.Usage:
    """The sum of two usages in which the same values are known."""

    def tokens(first: int | None, second: int | None) -> int | None:
        return None if first is None or second is None else first + second

    return structs.replace(
        one,
        input_tokens=tokens(one.input_tokens, two.input_tokens),
        output_tokens=tokens(one.output_tokens, two.output_tokens),
        unsplit_tokens=tokens(one.unsplit_tokens, two.unsplit_tokens),
        cost=None if one.cost is None or two.cost is None else one.cost + two.cost,
        count=one.count + two.count,
    )


class _Series(Series):
    """Series without caps, which also count the records of each counter."""

    def __init__(self, limits: Limits, clock: Callable[[], float], buckets: Mapping[str, tuple[float, ...]]) -> None:
        super().__init__(limits, clock, buckets)
        self.records: Counter[tuple[Metric, Labels]] = Counter()

    def add(
        self, metric: Metric, labels: Labels, amount: int | Decimal = 1, observations: int = 1, *, refused: bool = False
    ) -> None:
        self.records[metric, labels] += observations
        super().add(metric, labels, amount, observations, refused=refused)

    def _admit(
        self, metric: Metric, labels: Labels, series: Mapping[Labels, object], observations: int, refused: bool
    ) -> Labels:
        return labels


def _no_clock() -> float:
    return 0.0
