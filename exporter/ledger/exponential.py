"""Sparse exponential buckets of durations: the buckets of Prometheus' native histograms, schema 3.

A bucket holds the durations in (2^((index - 1) / 8), 2^(index / 8)] seconds, where `index` is Prometheus' number of the
bucket. So each bound is 9 % above the one before it, and no duration is more than 4.5 % away from the middle of its
bucket. Here a bucket's number is `index - ZERO_INDEX`, which is never negative; bucket 0 holds the durations of 0.

A histogram is a dictionary: the counts by the buckets' numbers, without the empty ones. MessagePack can store it as it
is, and `merge` adds two of them. Durations are whole nanoseconds, and so are the bounds, rounded down: no float decides
in which bucket a duration is. The source of the schema is https://prometheus.io/docs/specs/native_histograms/.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import repeat
from math import ceil, isqrt

SCHEMA = 3

#: Prometheus' number of bucket 1, which holds the durations of 1 nanosecond, minus 1.
ZERO_INDEX = -240

#: The largest duration that a parser may report, in nanoseconds.
_MAX = 2**63 - 1

_MILLISECOND = 1_000_000

#: From this number of durations on, counting by bucket is faster than one by one.
_MANY = 64

#: The largest number of durations in the cache.
_REMEMBERED = 8192


def _bounds() -> tuple[int, ...]:
    """The upper bounds of all buckets in nanoseconds, rounded down."""
    bounds, index = [0], ZERO_INDEX
    while bounds[-1] < _MAX:
        index += 1
        eighth_power = 10**72 << index if index >= 0 else 10**72 >> -index
        bounds.append(isqrt(isqrt(isqrt(eighth_power))))
    return tuple(bounds)


BOUNDS = _bounds()


class Numbers(dict[int, int]):
    """Finds the number of the first bound that is not below a duration.

    It is a cache of the number by the duration: logs mostly hold whole milliseconds, which repeat.
    """

    def __init__(self, bounds: Sequence[int]) -> None:
        """`bounds` are sorted, in nanoseconds. The last one is not below any duration."""
        super().__init__()
        self._bounds = bounds
        self._search = partial(bisect_left, bounds)

    def __missing__(self, duration: int) -> int:
        number = self._search(duration)
        if len(self) < _REMEMBERED:
            self[duration] = number
        return number

    def counts(self, ordered: Sequence[int]) -> list[tuple[int, int]]:
        """The numbers of sorted durations, and how many have each. A number may occur again. At least one duration."""
        if len(ordered) < _MANY:
            # Finer durations repeat too rarely for the cache. The first one shows what the log holds.
            find = self._search if ordered[0] % _MILLISECOND else self.__getitem__
            return [*zip(map(find, ordered), repeat(1), strict=False)]
        found, begin, size, bounds = [], 0, len(ordered), self._bounds
        number = self._search(ordered[0])
        while True:
            end = bisect_right(ordered, bounds[number], begin)
            found.append((number, end - begin))
            if end == size:
                return found
            begin, number = end, number + 1
            if ordered[begin] > bounds[number]:  # most durations have the same number or the next one
                number = bisect_left(bounds, ordered[begin], number)


def merge(counts: dict[int, int], more: Mapping[int, int]) -> None:
    for number, count in more.items():
        counts[number] = counts.get(number, 0) + count


def quantile(q: float, counts: Mapping[int, int]) -> float | None:
    """A quantile in seconds, at most 4.5 % away from the exact one; None without data.

    The exact one is the smallest duration that at least the fraction `q` of all durations do not exceed. The result is
    the middle (the geometric mean of the bounds) of its bucket. An interpolation between the bounds could be 9 % away.
    """
    rank = max(1, ceil(q * sum(counts.values())))
    for number in sorted(counts):
        rank -= counts[number]
        if rank <= 0:
            return middle(number)
    return None


def middle(number: int) -> float:
    return float(2 ** ((number + ZERO_INDEX - 0.5) / 8)) if number else 0.0
