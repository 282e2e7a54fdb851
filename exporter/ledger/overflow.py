"""Sums up records whose labels would become `other`, before they are entered.

A flood of distinct app ids or models can fill a metric up to its cap. From then on, the records whose open labels would
all become `other` are summed up by columns, and the ledger gets few sums per batch. The counts are the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, compress, groupby, repeat
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.budgets import Budgets
from exporter.ledger.prices import Prices
from exporter.ledger.series import Labels, Series
from parsers import batch as b
from parsers.values.numbers import SECOND

#: Usages of the same quarter of an hour have the same budget windows and prices. In nanoseconds.
_QUARTER = 900 * SECOND

_USAGE_LABELS = attrgetter("app_id", "provider", "model")


class Overflow:
    """The refused records of one batch of one source. In the sums, labels that become `other` are ""."""

    def __init__(self, source: str, series: Series, prices: Prices, budgets: Budgets) -> None:
        self._source, self._series, self._prices, self._budgets = source, series, prices, budgets
        self._usages: defaultdict[tuple[Any, ...], list[b.Usage]] = defaultdict(list)
        #: The other records, by their type and closed labels.
        self._counted: defaultdict[tuple[Any, Labels], list[Any]] = defaultdict(list)
        takes: dict[type, tuple[c.Metric, Callable[[Any], Sequence[b.Record]]]] = {
            b.Usage: (c.TOKENS_USED, self._take_usages)
        }
        takes |= {kind: (metric, self._take_counted) for kind, (metric, _) in _COUNTED.items()}
        is_final = series.is_final((source,))
        self._takes = {kind: take for kind, (metric, take) in takes.items() if is_final and series.is_full(metric)}

    def __bool__(self) -> bool:
        """Whether any record can be taken, because some metric is full."""
        return bool(self._takes)

    def take(self, records: Sequence[b.Record]) -> Sequence[b.Record]:
        """Add the refused records to the sums. Returns the others, which must be entered by themselves.

        Each usage must have a time.
        """
        by_kind, taken = defaultdict[type, list[b.Record]](list), set[int]()
        for kind, members in groupby(records, type):  # parsers return many records of one type behind each other
            by_kind[kind] += members
        for kind in self._takes.keys() & by_kind.keys():
            taken.update(map(id, self._takes[kind](by_kind[kind])))
        return [record for record in records if id(record) not in taken] if taken else records

    def sums(self) -> Iterator[b.Record]:
        for (_, currency, _, provider, model, *known), usages in self._usages.items():
            given, produced, unsplit = (
                sum(_column(name, usages)) if is_known else None
                for name, is_known in zip(("input_tokens", "output_tokens", "unsplit_tokens"), known, strict=True)
            )
            cost = None if usages[0].cost is None else sum([usage.cost for usage in usages if usage.cost], Decimal())
            count = sum([usage.count for usage in usages])
            yield b.Usage("", provider, model, given, produced, unsplit, cost, currency, usages[0].at, count)
        for (kind, labels), records in self._counted.items():
            count = sum(_column("count", records))
            if "durations" in kind.__struct_fields__:
                many = chain.from_iterable(_column("durations", records))
                yield kind(
                    *labels, None, count, (*many, *(each for each in _column("duration", records) if each is not None))
                )
            else:
                yield kind(*labels, count)

    def _take_usages(self, usages: Sequence[b.Usage]) -> Sequence[b.Usage]:
        """The labels of a refused usage occur in no series of tokens or costs."""
        known = self._series.label_sets(self._source, (c.TOKENS_USED, c.COST), 3)
        labels = list(map(_USAGE_LABELS, usages))
        if not known.isdisjoint(labels):
            usages = [usage for usage, each in zip(usages, labels, strict=True) if each not in known]
        if not self._series.are_final(labels):
            usages = [usage for usage in usages if self._series.is_final((self._source, *_USAGE_LABELS(usage)))]
        if self._budgets.has_filters:
            usages = [usage for usage in usages if not self._budgets.filters(self._source, usage)]
        taken = self._take_priced(usages) if self._series.is_full(c.COST) else []
        return [*taken, *self._take_unpriced([usage for usage in usages if usage.cost is None])]

    def _take_priced(self, usages: Sequence[b.Usage]) -> Sequence[b.Usage]:
        priced = [usage for usage in usages if usage.cost is not None]
        for usage in priced:
            self._usages[
                (usage.at or 0) // _QUARTER, usage.currency, None, "", "",
                usage.input_tokens is not None, usage.output_tokens is not None, usage.unsplit_tokens is not None,
            ].append(usage)  # fmt: skip
        return priced

    def _take_unpriced(self, usages: Sequence[b.Usage]) -> Sequence[b.Usage]:
        """Take usages without a cost, unless the price list has one. Their tokens count in one more metric."""
        known, is_full = self._series.counters[c.UNPRICED_TOKENS], self._series.is_full(c.UNPRICED_TOKENS)
        taken = []
        for usage in usages:
            given, produced, unsplit = usage.input_tokens, usage.output_tokens, usage.unsplit_tokens
            is_known = (self._source, usage.provider, usage.model) in known
            if (is_known or is_full) and not self._prices.knows(usage.model):
                # Without tokens there are no unpriced ones, so such a usage is no observation of them.
                is_unpriced = bool(given or produced or unsplit)
                model = (usage.provider, usage.model) if is_known else ("", "")
                known_counts = given is not None, produced is not None, unsplit is not None
                self._usages[(usage.at or 0) // _QUARTER, "", is_unpriced, *model, *known_counts].append(usage)
                taken.append(usage)
        return taken

    def _take_counted(self, records: Sequence[Any]) -> Sequence[b.Record]:
        """Take records of one type that count in one counter and one histogram at most."""
        kind = type(records[0])
        metric, histogram = _COUNTED[kind]
        labels = self._labels(metric, records)
        if not self._series.are_final(labels):
            records = [record for record, each in zip(records, labels, strict=True) if self._series.is_final(each)]
            labels = self._labels(metric, records)
        is_refused = self._series.are_refused(metric, labels)
        if histogram is not None:
            # A histogram has all labels of the counter except the last.
            are_times_refused = self._series.are_refused(histogram, [each[:-1] for each in labels])
            is_refused = [
                each and (is_time_refused or not (record.durations or record.duration is not None))
                for each, is_time_refused, record in zip(is_refused, are_times_refused, records, strict=True)
            ]
        taken = list(compress(records, is_refused))
        names = metric.labels[1:]
        closed = zip(*(repeat("") if name in c.OPEN_LABELS else _column(name, taken) for name in names), strict=False)
        for record, key in zip(taken, closed, strict=False):
            self._counted[kind, key].append(record)
        return taken

    def _labels(self, metric: c.Metric, records: Sequence[b.Record]) -> list[Labels]:
        """The labels of records whose fields have the names of the labels."""
        return list(
            zip(
                repeat(self._source, len(records)), *(_column(name, records) for name in metric.labels[1:]), strict=True
            )
        )


#: The counter and the histogram of other records. Their fields have the names of the labels.
_COUNTED: Mapping[type, tuple[c.Metric, c.Metric | None]] = {
    b.Run: (c.RUNS, c.RUN_DURATION),
    b.Task: (c.TASKS, c.TASK_DURATION),
    b.TaskReceived: (c.TASKS_RECEIVED, None),
    b.FirstToken: (c.TIME_TO_FIRST_TOKEN, None),
    b.UsageMissing: (c.USAGE_MISSING, None),
}


def _column(name: str, records: Sequence[b.Record]) -> Iterator[Any]:
    return map(attrgetter(name), records)
