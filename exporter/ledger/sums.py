"""The sums of the records of one source that wait, and their labels (see `exporter.ledger.waiting`)."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence, Sized
from functools import partial
from itertools import compress
from operator import attrgetter, not_
from typing import Any, NamedTuple

from exporter import catalogue as c
from exporter.ledger.series import Labels, Series, cleaned, is_clean
from parsers import batch as b

#: The numbers of durations of a source that may wait. They bound the memory, and the time to count them: some ms.
_MANY_DURATIONS, _MOST_DURATIONS = 1 << 14, 1 << 16

#: Input, output and unsplit tokens, cost, and the number of usages.
UsageSum = list[Any]
#: The labels of a sum without the source. None is an open label that the metric refuses, so that it becomes `other`.
Target = tuple[str | None, ...]


#: The values of some labels, one per record in each column.
Columns = Sequence[Sequence[str]]


def filled(target: Target) -> Labels:
    """The labels of a sum, with "" for those that are refused."""
    return tuple(label or "" for label in target)


class UsageGroup(NamedTuple):
    """What the usages of one sum have in common, apart from their labels.

    * `windows`: the start of the window of each budget; `quarter`: the quarter of an hour if the price depends on it.
    * `currency`, and the types of `cost` and of the token counts, which say which of them are known.
    * `has_tokens`: False if all token counts are 0 or not known, and the cost is not known.
    * `refused`: their open labels are "" because all of them become `other`.
    """

    windows: tuple[int, ...]
    quarter: int | None
    currency: str
    cost: type
    input_tokens: type
    output_tokens: type
    unsplit_tokens: type
    has_tokens: bool
    refused: bool = False


class Sums:
    """The sums of one source."""

    def __init__(self) -> None:
        self.usages: defaultdict[UsageGroup, dict[Labels, UsageSum]] = defaultdict(dict)
        #: The earliest time of the usages of a group, in nanoseconds.
        self.times: dict[UsageGroup, int] = {}
        #: The amounts and the durations (nanoseconds) of other records, and the number of records if it is no amount.
        self.counts: defaultdict[c.Metric, Counter[Target]] = defaultdict(Counter)
        self.records: Counter[tuple[c.Metric, Target]] = Counter()
        self.durations: defaultdict[c.Metric, defaultdict[Target, list[int]]] = defaultdict(partial(defaultdict, list))
        self.size_of_durations = 0
        #: The number of sums of a metric at which it is checked again how many of them may add series.
        self.next_check: Counter[c.Metric] = Counter()

    def count(self, metric: c.Metric, labels: Target, amount: int, records: int | None = None) -> None:
        self.counts[metric][labels] += amount
        if records is not None:
            self.records[metric, labels] += records

    def observe(self, metric: c.Metric, labels: Labels, durations: Sequence[int]) -> None:
        self.durations[metric][labels] += durations
        self.size_of_durations += len(durations)

    @property
    def size(self) -> int:
        tables: list[Sized] = [*self.usages.values(), *self.counts.values(), *self.durations.values()]
        return sum(map(len, tables))

    @property
    def has_many_durations(self) -> bool:
        """Whether the durations should be entered: at once if they have few label sets, because short lists are sorted
        faster; else later, because each label set has its own cost.
        """
        label_sets = sum(map(len, self.durations.values()))
        return self.size_of_durations > min(_MOST_DURATIONS, _MANY_DURATIONS + 64 * label_sets)

    def usage_records(self) -> Iterator[tuple[b.Usage, bool]]:
        """The sums of usages as records, and whether their open labels are refused."""
        usage: Any = b.Usage
        for group, sums in self.usages.items():
            types = group.input_tokens, group.output_tokens, group.unsplit_tokens, group.cost
            for labels, (*values, count) in sums.items():
                known = [None if each is type(None) else value for each, value in zip(types, values, strict=True)]
                yield usage(*labels, *known, group.currency, self.times[group], count), group.refused


def columns_of(records: Sequence[Any], names: Sequence[str]) -> Columns:
    return [list(map(attrgetter(name), records)) for name in names]


def targets_of(series: Series, source: str, metric: c.Metric, columns: Columns) -> Sequence[Target]:
    """The target of each record: the labels of its sum. `columns` are its labels without the source.

    If the metric refuses the labels, each open label of the target is None.
    """
    labels = list(zip(*columns, strict=True))
    if not series.is_full(metric):
        return labels
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
    if not any(b.OTHER in each for each in values) and all(
        is_clean(each, series.limits.label_length) for each in values
    ):
        return keeps
    is_open = [name in c.OPEN_LABELS for name in names]
    others = (b.OTHER,) * sum(is_open)
    kept = {}
    for each in set(compress(labels, unknown)):
        valid = cleaned(each, series.limits.label_length)
        kept[each] = valid in known or tuple(compress(valid, is_open)) == others
    return [is_known or kept[each] for is_known, each in zip(keeps, labels, strict=True)]
