"""Chooses the sums into which records with given labels are added (see `exporter.ledger.waiting`)."""

from collections.abc import Collection, Sequence
from itertools import compress
from operator import attrgetter, not_
from typing import Any

from exporter import catalogue as c
from exporter.ledger.series import Labels, Series, cleaned
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.sums import Target
from parsers import batch as b

#: The values of some labels, one per record in each column.
Columns = Sequence[Sequence[str]]


def columns_of(records: Sequence[Any], names: Sequence[str]) -> Columns:
    """The values of these labels."""
    return [list(map(attrgetter(name), records)) for name in names]


def targets_of(ledger: SourceLedger, metric: c.Metric, columns: Columns) -> Sequence[Target | None]:
    """The target of each record: the labels of its sum. `columns` are its labels without the source.

    If the metric refuses the labels, each open label of the target is None. If the labels could add a series, so that
    the record cannot wait, the target is None; this cannot happen if the metric is full.
    """
    series, source = ledger.series, ledger.source
    labels = list(zip(*columns, strict=True))
    if not series.is_full(metric):
        safe = {each for each in set(labels) if series.adds_no_series(metric, (source, *each))}
        return [each if each in safe else None for each in labels]
    names = metric.labels[1:]
    keeps = keep_labels(series.label_sets(source, (metric,), len(names)), labels, columns, names, series)
    if False not in keeps:
        return labels
    nothing = [None] * len(labels)
    kept: list[Sequence[Any]] = [
        nothing if name in c.OPEN_LABELS else column for name, column in zip(names, columns, strict=True)
    ]
    if all(column.count(column[0]) == len(column) for column in kept):  # a tuple per record costs more
        folded: list[Target] = [tuple([column[0] for column in kept])] * len(labels)
    else:
        folded = list(zip(*kept, strict=True))
    if True not in keeps:
        return folded
    return [each if kept else fold for kept, fold, each in zip(keeps, folded, labels, strict=True)]


def keep_labels(
    known: Collection[Labels], labels: Sequence[Labels], columns: Columns, names: Sequence[str], series: Series
) -> Sequence[bool]:
    """Whether each of these label sets keeps its labels. The open labels of the others become `other`.

    It does if it is in `known`, perhaps after it was cleaned, or if all of its open labels are `other` already.
    `columns` are the columns of the label sets, and `names` their names.
    """
    keeps = list(map(known.__contains__, labels))
    if False not in keeps:
        return keeps
    # Nearly always there is nothing to clean. Then all values of a column are checked at once.
    unknown = list(map(not_, keeps))
    values = [list(compress(column, unknown)) for column in columns] if True in keeps else columns
    if not any(b.OTHER in each for each in values) and all(map(series.is_clean, values)):
        return keeps
    is_open = [name in c.OPEN_LABELS for name in names]
    others = (b.OTHER,) * sum(is_open)
    kept = {}
    for each in set(compress(labels, unknown)):
        valid = cleaned(each, series.limits.label_length)
        kept[each] = valid in known or tuple(compress(valid, is_open)) == others
    return [is_known or kept[each] for is_known, each in zip(keeps, labels, strict=True)]
