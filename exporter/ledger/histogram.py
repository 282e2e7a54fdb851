"""A histogram of durations with two exact views: classic buckets, and the buckets of `exporter.ledger.exponential`.

It counts durations in cells. A cell is an exponential bucket, or a part of one where the bound of a classic bucket lies
inside it. So every bucket of both views is a sum of whole cells, and an observation costs one count.
"""

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from msgspec import Struct

from exporter.ledger import exponential
from parsers.values.numbers import SECOND


class Histogram(Struct, frozen=True, array_like=True, gc=False):
    """The durations of one label set: their sum in nanoseconds, and their number by cell.

    It is replaced and never changed, so that a snapshot needs no copy of it. The sum is a Decimal only in a state file,
    and only beyond 64 bits.
    """

    total: int | Decimal
    cells: dict[int, int]

    @property
    def count(self) -> int:
        return sum(self.cells.values())

    def since(self, earlier: "Histogram") -> "Histogram":
        """The durations that were added to `earlier`, an older value of the same label set."""
        before = earlier.cells
        cells = {cell: count - before.get(cell, 0) for cell, count in self.cells.items()}
        return Histogram(self.total - earlier.total, {cell: count for cell, count in cells.items() if count})


EMPTY = Histogram(0, {})


class Layout:
    """The cells of all histograms with the same classic bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper bounds of the classic buckets in seconds, sorted."""
        classic = [round(bound * SECOND) for bound in bounds]
        cells = sorted({*exponential.BOUNDS, *classic})
        self._numbers = exponential.Numbers(cells)
        self._buckets = len(classic) + 1
        self._classic = [bisect_left(classic, cell) for cell in cells]
        self._exponential = [bisect_left(exponential.BOUNDS, cell) for cell in cells]

    def observe(self, before: Histogram, durations: Sequence[int]) -> Histogram:
        """`before` with more durations in nanoseconds. There must be at least one."""
        cells = before.cells.copy()
        self._numbers.observe(cells, durations)
        return Histogram(before.total + sum(durations), cells)

    def classic(self, histogram: Histogram) -> list[int]:
        """The number of durations in each classic bucket, and above all bounds."""
        counts, bucket = [0] * self._buckets, self._classic
        for cell, count in histogram.cells.items():
            counts[bucket[cell]] += count
        return counts

    def exponential(self, histogram: Histogram) -> dict[int, int]:
        """The number of durations by exponential bucket."""
        counts: dict[int, int] = {}
        number = self._exponential
        for cell, count in histogram.cells.items():
            counts[number[cell]] = counts.get(number[cell], 0) + count
        return counts


@lru_cache(maxsize=64)
def layout(bounds: tuple[float, ...]) -> Layout:
    """The layout of these classic bounds. Histograms with equal bounds share one, with its cache."""
    return Layout(bounds)
