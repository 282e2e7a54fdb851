"""Sums of a snapshot by any group of labels, and quantiles of durations for people.

Quantiles come from exponential buckets and are within 5 % of exact, as printed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from exporter import catalogue as c
from exporter.ledger import exponential
from exporter.ledger.histogram import EMPTY
from exporter.ledger.histogram import layout as layout_of
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot

K = TypeVar("K")


def counted(
    snapshot: Snapshot, metric: c.Metric, group_of: Callable[[Labels], K | None], earlier: Snapshot | None = None
) -> Counter[K]:
    """The increase of a counter since an earlier snapshot, by group. A series without a group is left out."""
    before, sums = earlier.counters[metric] if earlier else {}, Counter[K]()
    for labels, value in snapshot.counters[metric].items():
        if (increase := int(value - before.get(labels, 0))) and (group := group_of(labels)) is not None:
            sums[group] += increase
    return sums


def merged(
    snapshot: Snapshot, metric: c.Metric, group_of: Callable[[Labels], K | None], earlier: Snapshot | None = None
) -> dict[K, dict[int, int]]:
    """The counts of a histogram by group and exponential bucket, without what was counted in an earlier snapshot.

    A series without a group, and one that has not changed, is left out.
    """
    before, layout = earlier.histograms[metric] if earlier else {}, layout_of(snapshot.bounds[metric])
    sums: dict[K, dict[int, int]] = {}
    for labels, histogram in snapshot.histograms[metric].items():
        known = before.get(labels, EMPTY)
        if histogram is not known and (group := group_of(labels)) is not None:
            increase = histogram.since(known) if known is not EMPTY else histogram
            exponential.merge(sums.setdefault(group, {}), layout.counted(increase))
    return sums


def quantiles(counts: Mapping[int, int]) -> dict[str, float]:
    """p50, p95 and p99 in seconds of the counts by exponential bucket; empty without data."""
    named = {f"p{q}": exponential.quantile(q / 100, counts) for q in (50, 95, 99)}
    return {name: value for name, value in named.items() if value is not None}


def approximate(seconds: float) -> str:
    """An estimated duration with three significant digits, in milliseconds if it is below one second."""
    value, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    digits = 0 if not value or value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"≈ {value:,.{digits}f} {unit}"
