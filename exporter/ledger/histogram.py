"""A histogram of durations with two exact views: classic buckets, and the buckets of `exporter.ledger.exponential`.

It counts durations in cells. A cell is an exponential bucket, or a part of one where the bound of a classic bucket lies
inside it. So every bucket of both views is a sum of whole cells, and an observation costs one count.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate

from msgspec import Struct

from exporter.ledger import exponential
from parsers.values.numbers import SECOND


class Histogram(Struct, frozen=True, array_like=True, gc=False):
    """The durations of one label set: their sum in nanoseconds, and their number by cell.

    `cells` begins with the cell `first` and ends with the last one that is not empty; `zeros` is the number of
    durations of 0. A histogram is replaced and never changed, so that a snapshot needs no copy of it. The sum is a
    Decimal only in a state file, and only beyond 64 bits.
    """

    total: int | Decimal
    zeros: int
    first: int
    cells: list[int]

    @property
    def count(self) -> int:
        return self.zeros + sum(self.cells)

    def plus(self, more: "Histogram") -> "Histogram":
        first, cells = self.first, self.cells
        if more.cells:
            first, cells = _room(self, more.first, more.first + len(more.cells) - 1)
            for place, count in enumerate(more.cells, more.first - first):
                cells[place] += count
        return Histogram(self.total + more.total, self.zeros + more.zeros, first, cells)

    def since(self, earlier: "Histogram") -> "Histogram":
        """The durations that were added to `earlier`, an older value of the same label set."""
        cells, begin = self.cells.copy(), earlier.first - self.first
        for place, count in enumerate(earlier.cells, begin):
            cells[place] -= count
        return Histogram(self.total - earlier.total, self.zeros - earlier.zeros, self.first, cells)


EMPTY = Histogram(0, 0, 0, [])


class Layout:
    """The cells of all histograms with the same classic bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper bounds of the classic buckets in seconds, sorted."""
        classic = [round(bound * SECOND) for bound in bounds]
        splitting = {*classic}.difference(exponential.BOUNDS)
        cells = sorted([*exponential.BOUNDS, *splitting])
        self._numbers = exponential.Numbers(cells)
        #: The number of the cell behind each classic bound.
        self._edges = [bisect_left(cells, bound) + 1 for bound in classic]
        #: The exponential bucket of each cell, and the cells that are in the same bucket as the one before.
        self._bucket = [0, *accumulate(cell not in splitting for cell in cells[:-1])]
        self._split = [number for number, cell in enumerate(cells, 1) if cell in splitting]

    def observe(self, before: Histogram, durations: Sequence[int]) -> Histogram:
        """`before` with more durations in nanoseconds. There must be at least one."""
        ordered, zeros = sorted(durations), 0
        if not ordered[0]:
            zeros = bisect_right(ordered, 0)
            ordered = ordered[zeros:]
        first, cells = before.first, before.cells
        if ordered:
            counts = self._numbers.counts(ordered)
            first, cells = _room(before, counts[0][0], counts[-1][0])
            for number, count in counts:
                cells[number - first] += count
        return Histogram(before.total + sum(ordered), before.zeros + zeros, first, cells)

    def cumulative(self, histogram: Histogram) -> list[int]:
        """For each classic bound, the number of durations that it is not below, and the number of all durations."""
        edges, first = self._edges, histogram.first
        sums = [*accumulate(histogram.cells, initial=histogram.zeros)]
        begin, end = bisect_left(edges, first), bisect_left(edges, first + len(sums))
        inside = [sums[edge - first] for edge in edges[begin:end]]
        return [*[histogram.zeros] * begin, *inside, *[sums[-1]] * (len(edges) - end + 1)]

    def exponential(self, histogram: Histogram) -> tuple[int, list[int]]:
        """The exponential bucket of the first cell, and the number of durations in it and the following buckets.

        Bucket 0 is not among them: it holds `histogram.zeros`.
        """
        counts, first = histogram.cells.copy(), histogram.first
        begin, end = bisect_left(self._split, first + 1), bisect_left(self._split, first + len(counts))
        for cell in reversed(self._split[begin:end]):
            counts[cell - first - 1] += counts.pop(cell - first)
        return self._bucket[first], counts

    def counted(self, histogram: Histogram) -> dict[int, int]:
        """The number of durations by exponential bucket, without the empty ones."""
        counts: dict[int, int] = {0: histogram.zeros} if histogram.zeros else {}
        if histogram.cells:
            first, cells = self.exponential(histogram)
            counts.update((number, count) for number, count in enumerate(cells, first) if count)
        return counts


def _room(before: Histogram, lowest: int, highest: int) -> tuple[int, list[int]]:
    """The first cell and a copy of the cells, with room for durations from the lowest to the highest cell."""
    if not before.cells:
        return lowest, [0] * (highest - lowest + 1)
    below, above = before.first - lowest, highest + 1 - before.first - len(before.cells)
    if below <= 0 and above <= 0:
        return before.first, before.cells.copy()
    return min(before.first, lowest), [*[0] * below, *before.cells, *[0] * above]


@lru_cache(maxsize=64)
def layout(bounds: tuple[float, ...]) -> Layout:
    """The layout of these classic bounds. Histograms with equal bounds share one, with its cache."""
    return Layout(bounds)
