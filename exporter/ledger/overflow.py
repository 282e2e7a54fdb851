"""Sums up records whose labels would become `other`, before they are entered.

A flood of distinct app ids or models can fill a metric up to its cap. From then on, a record whose open labels would
all become `other` costs only a few lookups, and the ledger gets one sum per batch. The counts are the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from exporter import catalogue as c
from exporter.ledger.budgets import Budgets
from exporter.ledger.prices import Prices
from exporter.ledger.series import Series
from parsers import batch as b
from parsers.values.numbers import SECOND

#: Usages of the same quarter of an hour have the same budget windows and prices. In nanoseconds.
_QUARTER = 900 * SECOND


class Overflow:
    """The refused records of one batch of one source. In the sums, labels that become `other` are ""."""

    def __init__(
        self, source: str, series: Series, prices: Prices, budgets: Budgets, usage_time: Callable[[int | None], int]
    ) -> None:
        """`usage_time` returns the time at which a usage counts, in nanoseconds, from the time in its record."""
        self._usage_time = usage_time
        self._source, self._series, self._prices, self._budgets = source, series, prices, budgets
        self._usages: dict[tuple[Any, ...], list[Any]] = {}
        self._timed: defaultdict[b.Run | b.FirstToken, list[Any]] = defaultdict(lambda: [0, []])
        self._missing: defaultdict[str, int] = defaultdict(int)
        every: Mapping[type, tuple[Callable[[Any], bool], c.Metric]] = {
            b.Usage: (self._usage, c.TOKENS_USED),
            b.Run: (self._run, c.RUNS),
            b.FirstToken: (self._first_token, c.TIME_TO_FIRST_TOKEN),
            b.UsageMissing: (self._usage_missing, c.USAGE_MISSING),
        }
        self._takes = {kind: take for kind, (take, metric) in every.items() if series.is_full(metric)}
        self._costs_full = series.is_full(c.COST)
        #: The label values (source, app, provider, model) of all tokens and costs.
        self._known = series.beginnings(4, (c.TOKENS_USED, c.COST)) if b.Usage in self._takes else frozenset()

    def __bool__(self) -> bool:
        """Whether any record can be taken, because some metric is full."""
        return bool(self._takes)

    def takes(self, record: b.Record) -> bool:
        """Add a record to the sums. Returns False if it must be entered by itself."""
        take = self._takes.get(type(record))
        return take is not None and take(record)

    def sums(self) -> Iterator[b.Record]:
        for (_, currency, _, provider, model, *known), (count, at, cost, *tokens) in self._usages.items():
            counts = [amount if is_known else None for amount, is_known in zip(tokens, known, strict=True)]
            given, produced, unsplit = counts
            yield b.Usage("", provider, model, given, produced, unsplit, cost, currency, at, count)
        for record, (count, durations) in self._timed.items():
            if isinstance(record, b.Run):
                yield b.Run(record.kind, "", record.status, None, count, tuple(durations))
            else:
                yield b.FirstToken("", "", None, count, tuple(durations))

    def missing(self) -> Mapping[str, int]:
        """The number of answers without usage, by reason."""
        return self._missing

    def _usage(self, record: b.Usage) -> bool:
        labels = (self._source, record.app_id, record.provider, record.model)
        if labels in self._known or not self._series.is_final(labels) or self._budgets.filters(self._source, record):
            return False
        given, produced, unsplit, cost = record.input_tokens, record.output_tokens, record.unsplit_tokens, record.cost
        provider = model = ""
        if cost is not None:
            if not self._costs_full:
                return False
        elif self._prices.knows(record.model):
            return False
        elif (self._source, record.provider, record.model) in self._series.counters[c.UNPRICED_TOKENS]:
            provider, model = record.provider, record.model
        elif not self._series.is_full(c.UNPRICED_TOKENS):
            return False
        at = self._usage_time(record.at)
        # Without tokens there are no unpriced ones, so such a usage is no observation of them.
        is_unpriced = bool(given or produced or unsplit) if cost is None else None
        known = given is not None, produced is not None, unsplit is not None
        key = (at // _QUARTER, "" if cost is None else record.currency, is_unpriced, provider, model, *known)
        sums = self._usages.get(key)
        if sums is None:
            self._usages[key] = [record.count, at, cost, given or 0, produced or 0, unsplit or 0]
            return True
        sums[0] += record.count
        if cost is not None:
            sums[2] += cost
        sums[3] += given or 0
        sums[4] += produced or 0
        sums[5] += unsplit or 0
        return True

    def _run(self, record: b.Run) -> bool:
        labels = self._source, record.kind, record.app_id
        is_timed = record.duration is not None or record.durations
        if not self._series.refuses(c.RUNS, (*labels, record.status)):
            return False
        if is_timed and not self._series.refuses(c.RUN_DURATION, labels):
            return False
        self._add(b.Run(record.kind, "", record.status), record)
        return True

    def _first_token(self, record: b.FirstToken) -> bool:
        if not self._series.refuses(c.TIME_TO_FIRST_TOKEN, (self._source, record.app_id, record.model)):
            return False
        self._add(b.FirstToken("", ""), record)
        return True

    def _add(self, labels: b.Run | b.FirstToken, record: b.Run | b.FirstToken) -> None:
        sums = self._timed[labels]
        sums[0] += record.count
        if record.durations:
            sums[1] += record.durations
        elif record.duration is not None:
            sums[1].append(record.duration)

    def _usage_missing(self, record: b.UsageMissing) -> bool:
        if not self._series.refuses(c.USAGE_MISSING, (self._source, record.app_id, record.reason)):
            return False
        self._missing[record.reason] += 1
        return True
