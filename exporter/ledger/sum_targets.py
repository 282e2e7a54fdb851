"""Chooses the sums into which records with given labels are added (see `exporter.ledger.waiting`)."""

from collections.abc import Collection, Sequence
from itertools import compress, repeat
from operator import attrgetter, not_
from typing import Any

from exporter import catalogue as c
from exporter.ledger.series import Labels, Series, clean
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.sums import Target
from parsers import batch as b

#: The values of some labels, one per record in each column.
Columns = Sequence[Sequence[str]]


def columns_of(records: Sequence[Any], names: Sequence[str]) -> Columns:
    """The values of these labels."""
    return [list(map(attrgetter(name), records)) for name in names]


def targets_of(ledger: SourceLedger, metric: c.Metric, columns: Columns) -> Sequence[Target | None]:
    """The sum of each record, by the columns of its labels without the source.

    It is the labels themselves, or None instead of each open label if the metric refuses them. It is None for labels
    that could add a series; a full metric has none of these.
    """
    series, source = ledger.series, ledger.source
    labels = list(zip(*columns, strict=True))
    if not series.is_full(metric):
        settled = {each for each in set(labels) if series.is_settled(metric, (source, *each))}
        return [each if each in settled else None for each in labels]
    names = metric.labels[1:]
    stays = stay(series.label_sets(source, (metric,), len(names)), labels, columns, names, series)
    if False not in stays:
        return labels
    nothing = [None] * len(labels)
    kept: list[Sequence[Any]] = [
        nothing if name in c.OPEN_LABELS else column for name, column in zip(names, columns, strict=True)
    ]
    if all(column.count(column[0]) == len(column) for column in kept):  # a tuple per record costs more
        folded: list[Target] = [tuple([column[0] for column in kept])] * len(labels)
    else:
        folded = list(zip(*kept, strict=True))
    if True not in stays:
        return folded
    return [each if kept else fold for kept, fold, each in zip(stays, folded, labels, strict=True)]


def stay(
    known: Collection[Labels], labels: Sequence[Labels], columns: Columns, names: Sequence[str], series: Series
) -> Sequence[bool]:
    """Whether each of these label sets is in `known`, perhaps after it was cleaned. The others can be refused.

    `columns` are the columns of the label sets, and `names` their names. A label set whose open labels are all `other`
    is not refused.
    """
    stays = list(map(known.__contains__, labels))
    if False not in stays:
        return stays
    # Nearly always there is nothing to clean. Then all values of a column are checked at once.
    unknown = list(map(not_, stays))
    values = [list(compress(column, unknown)) for column in columns] if True in stays else columns
    if not any(b.OTHER in each for each in values) and all(map(series.is_clean, values)):
        return stays
    is_open = [name in c.OPEN_LABELS for name in names]
    others = (b.OTHER,) * sum(is_open)
    staying = {}
    for each in set(compress(labels, unknown)):
        cleaned = each if series.is_clean(each) else tuple(map(clean, each, repeat(series.limits.label_length)))
        staying[each] = cleaned in known or tuple(compress(cleaned, is_open)) == others
    return [is_known or staying[each] for is_known, each in zip(stays, labels, strict=True)]
