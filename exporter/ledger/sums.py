"""Sums of the records of one source that wait to be entered (see `exporter.ledger.waiting`)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sized
from functools import partial
from typing import Any, NamedTuple

from exporter import catalogue as c
from exporter.ledger.series import Labels
from parsers import batch as b

#: Input, output and unsplit tokens, cost, and the number of usages.
UsageSum = list[Any]
#: The labels of a sum without the source. None is an open label that the metric refuses, so that it becomes `other`.
Target = tuple[str | None, ...]


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
        #: The unpriced tokens of refused usages and the number of these usages, by provider and model.
        self.unpriced: defaultdict[Target, list[int]] = defaultdict(lambda: [0, 0])
        #: The number and the durations (nanoseconds) of other records.
        self.counts: defaultdict[c.Metric, Counter[Target]] = defaultdict(Counter)
        self.durations: defaultdict[c.Metric, defaultdict[Target, list[int]]] = defaultdict(partial(defaultdict, list))
        self.size_of_durations = 0

    @property
    def size(self) -> int:
        """The number of sums."""
        tables: list[Sized] = [*self.usages.values(), self.unpriced, *self.counts.values(), *self.durations.values()]
        return sum(map(len, tables))

    def usage_records(self) -> Iterator[tuple[b.Usage, bool]]:
        """The sums of usages as records, and whether their open labels are refused."""
        usage: Any = b.Usage
        for group, sums in self.usages.items():
            types = group.input_tokens, group.output_tokens, group.unsplit_tokens, group.cost
            for labels, (*values, count) in sums.items():
                known = [None if each is type(None) else value for each, value in zip(types, values, strict=True)]
                yield usage(*labels, *known, group.currency, self.times[group], count), group.refused
