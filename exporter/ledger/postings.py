"""Postings: what many records of one source and one span of event time add up to.

A process that parses a part of a log sends postings instead of records. So neither their size nor the work in the
ledger grows with the number of lines. Records whose order matters (the halves of joins, runs) are sent as they are.
Postings and records together change the ledger as the records alone would.

They are the sums of `exporter.ledger.sums`, with histograms instead of durations. They have no caps, because only the
ledger knows which label sets came before.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from exporter.catalogue import METRICS, Metric
from exporter.ledger.fold import COUNTED
from exporter.ledger.fold_joins import post
from exporter.ledger.histogram import EMPTY, Histogram, layout
from exporter.ledger.series import Labels
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.sums import Sums, filled
from exporter.ledger.waiting import enter_durations
from parsers import batch as b

#: The record types that have an app as a label, and whose order does not matter.
_OF_APPS = (b.UsageMissing, b.FirstToken, b.Usage)
#: Fewer records of a type than this are always added up.
_MANY = 256
#: So many durations are counted in their histograms at once. It bounds their memory.
_MOST_DURATIONS = 1 << 14

_AMOUNTS = ("input_tokens", "output_tokens", "unsplit_tokens", "cost")

_METRICS = {metric.name: metric for metric in METRICS}


class Postings(Struct, frozen=True):
    """Counters as amounts and numbers of records, and histograms, by metric and labels without the source; and usages.

    Usages stay records, one per label set and quarter of an hour, because only the ledger knows prices and budgets.
    """

    counters: dict[str, dict[Labels, tuple[int, int]]]
    histograms: dict[str, dict[Labels, Histogram]]
    usages: tuple[b.Usage, ...]

    def enter(self, ledger: SourceLedger) -> None:
        for name, counters in self.counters.items():
            for labels, (amount, records) in counters.items():
                ledger.waiting.count(_METRICS[name], labels, amount, None if records == amount else records)
        for name, histograms in self.histograms.items():
            for labels, histogram in histograms.items():
                enter_durations(ledger, _METRICS[name], labels, histogram)
        post(ledger, self.usages)


class Tally:
    """Adds up the records of one source. `buckets` are the bounds of histograms that are configured, in seconds."""

    def __init__(self, buckets: Mapping[str, tuple[float, ...]]) -> None:
        self._buckets = buckets
        self._begin()

    def _begin(self) -> None:
        self._sums = Sums()
        self._histograms: dict[Metric, dict[Labels, Histogram]] = {}
        self._usages: dict[tuple[object, ...], b.Usage] = {}

    def post(self, records: Sequence[b.Record]) -> tuple[b.Record, ...]:
        """Add records up. Returns the records that are not added.

        These are records whose order matters. If most records of a type have different apps, they are not added
        either, because the sums would be larger than the records.
        """
        diverse = _diverse(records)
        # A usage without a time has that of the usage before it.
        has_times = all(record.at is not None for record in records if isinstance(record, b.Usage))
        kept = list[b.Record]()
        for record in records:
            if type(record) in diverse:
                kept.append(record)
            elif type(record) in COUNTED and not isinstance(record, b.Run):
                COUNTED[type(record)](self._sums, record)
            elif isinstance(record, b.Usage) and has_times:
                known = [getattr(record, name) is None for name in _AMOUNTS]
                key = record.app_id, record.provider, record.model, record.currency, record.at, *known
                self._usages[key] = _plus(self._usages[key], record) if key in self._usages else record
            else:
                kept.append(record)
        if self._sums.size_of_durations > _MOST_DURATIONS:
            self._count_durations()
        return tuple(kept)

    def taken(self) -> Postings | None:
        """The sums since the last call; None if there is nothing."""
        self._count_durations()
        counters = {
            metric.name: {filled(each): (n, self._sums.records.get((metric, each), n)) for each, n in found.items()}
            for metric, found in self._sums.counts.items()
        }
        histograms = {metric.name: found for metric, found in self._histograms.items()}
        usages = tuple(self._usages.values())
        self._begin()
        return Postings(counters, histograms, usages) if counters or histograms or usages else None

    def _count_durations(self) -> None:
        for metric, durations in self._sums.durations.items():
            observe = layout(self._buckets.get(metric.name, metric.buckets)).observe
            histograms = self._histograms.setdefault(metric, {})
            for labels, found in durations.items():
                histograms[filled(labels)] = observe(histograms.get(filled(labels), EMPTY), found)
        self._sums.durations.clear()
        self._sums.size_of_durations = 0


def _diverse(records: Sequence[b.Record]) -> set[type]:
    apps: dict[type, list[str]] = {kind: [] for kind in _OF_APPS}
    for record in records:
        if isinstance(record, _OF_APPS):
            apps[type(record)].append(record.app_id)
    return {kind for kind, found in apps.items() if len(found) > _MANY and len(set(found)) > len(found) // 2}


def _plus(one: b.Usage, two: b.Usage) -> b.Usage:
    """The sum of two usages in which the same values are known."""
    known = [name for name in _AMOUNTS if getattr(one, name) is not None]
    amounts = {name: getattr(one, name) + getattr(two, name) for name in (*known, "count")}
    return structs.replace(one, **amounts)
