"""Sums of the records of one source that wait to be entered (see `exporter.ledger.waiting`)."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from exporter.ledger.series import Labels
from parsers import batch as b

#: Input, output and unsplit tokens, cost, and the number of usages.
UsageSum = list[Any]
#: The number of records, and their durations.
CountSum = list[Any]


class UsageGroup(NamedTuple):
    """What the usages of one sum have in common, apart from their labels.

    * `when`: the windows of all budgets, and the quarter of an hour if the price depends on it.
    * `currency`, and the types of `cost` and of the token counts, which say which of them are known.
    * `has_tokens`: False if all token counts are 0 or not known, and the cost is not known.
    * `refused`: their open labels are "" because all of them become `other`.
    """

    when: tuple[int, ...]
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
        #: The number and the durations of other records, by type, whether they have durations, and whether refused.
        self.counted: defaultdict[tuple[Any, bool, bool], dict[Labels, CountSum]] = defaultdict(dict)
        self.durations = 0

    @property
    def size(self) -> int:
        """The number of sums."""
        return sum(map(len, self.usages.values())) + sum(map(len, self.counted.values()))

    def records(self) -> Iterator[tuple[b.Record, bool]]:
        """The sums as records, and whether their open labels are refused."""
        usage: Any = b.Usage
        for group, sums in self.usages.items():
            types = group.input_tokens, group.output_tokens, group.unsplit_tokens, group.cost
            for labels, (*values, count) in sums.items():
                known = [None if each is type(None) else value for each, value in zip(types, values, strict=True)]
                yield usage(*labels, *known, group.currency, self.times[group], count), group.refused
        for (kind, _, refused), counted in self.counted.items():
            for labels, (count, durations) in counted.items():
                if "durations" in kind.__struct_fields__:
                    yield kind(*labels, None, count, tuple(durations)), refused
                else:
                    yield kind(*labels, count), refused
