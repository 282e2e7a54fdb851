"""Chooses the sums into which records with given labels are added (see `exporter.ledger.waiting`)."""

from collections.abc import Collection, Sequence, Set
from itertools import compress
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.series import Labels, Series, clean
from exporter.ledger.source_ledger import SourceLedger
from parsers import batch as b


def labels_of(records: Sequence[Any], names: Sequence[str]) -> list[Labels]:
    """The values of these labels, for each record."""
    return list(zip(*(map(attrgetter(name), records) for name in names), strict=True))


def targets_of(ledger: SourceLedger, metric: c.Metric, labels: Sequence[Labels]) -> Sequence[Any]:
    """The sum of each of these labels, which lack the source: the labels themselves, or None instead of each open label
    if the metric refuses them. None for labels that could add a series.
    """
    series, source = ledger.series, ledger.source
    if not labels:
        return labels
    known: Set[Labels]
    if not series.is_full(metric):
        known = {each for each in set(labels) if series.is_settled(metric, (source, *each))}
        return [each if each in known else None for each in labels]
    known = series.label_sets(source, (metric,), len(metric.labels) - 1)
    is_open = [name in c.OPEN_LABELS for name in metric.labels[1:]]
    columns = list(zip(*labels, strict=True))
    nothing = [None] * len(labels)
    folded = zip(*(nothing if opened else each for opened, each in zip(is_open, columns, strict=True)), strict=True)
    values = list(map(set, columns))
    if not all(series.is_clean(tuple(each)) for each in values) or any(b.OTHER in each for each in values):
        cleaned = {each: _cleaned(each, series) for each in set(labels)}
        others = (b.OTHER,) * sum(is_open)
        known = {each for each, kept in cleaned.items() if kept in known or tuple(compress(kept, is_open)) == others}
    return [each if each in known else target for each, target in zip(labels, folded, strict=True)]


def not_in(known: Collection[Labels], labels: set[Labels], series: Series) -> list[Labels]:
    """The label sets that are not in `known`, also not after they were cleaned."""
    unknown = [*labels.difference(known)]
    if all(series.is_clean(tuple(set(values))) for values in zip(*unknown, strict=True)):
        return unknown
    return [each for each in unknown if _cleaned(each, series) not in known]


def _cleaned(labels: Labels, series: Series) -> Labels:
    if series.is_clean(labels):
        return labels
    return tuple(clean(value, series.limits.label_length) for value in labels)
