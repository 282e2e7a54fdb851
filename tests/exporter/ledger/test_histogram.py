"""Cells: both views are exact for any durations and any bounds, however the durations come."""

from bisect import bisect_right
from functools import reduce

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.ledger.histogram import EMPTY, Histogram, Layout
from parsers.values.numbers import SECOND
from tests.durations import counted

DURATIONS = st.lists(
    st.integers(0, 2**63 - 1) | st.integers(0, 3000).map(lambda ms: ms * 1_000_000) | st.integers(0, 20), min_size=1
)
#: Bounds may coincide with those of exponential buckets, or many may lie inside one.
BOUNDS = st.lists(
    st.floats(1e-9, 1e5) | st.sampled_from([0.5, 1.0, 2.0, 1.01, 1.02, 1.03, 1e-9, 2e-9]), min_size=1, max_size=20
).map(lambda bounds: sorted(set(bounds)))


@given(BOUNDS, st.lists(DURATIONS, min_size=1, max_size=4))
@example([1.0], [[SECOND] * 100, [0], [SECOND + 1] * 3])
def test_both_views_are_exact(bounds: list[float], parts: list[list[int]]) -> None:
    layout, histogram = Layout(bounds), EMPTY
    for durations in parts:
        before, copy = histogram, histogram.cells.copy()
        histogram = layout.observe(histogram, durations)
        assert before.cells == copy
        added = histogram.since(before)
        assert (added.count, added.total) == (len(durations), sum(durations))
        assert layout.counted(added) == layout.counted(layout.observe(EMPTY, durations))
    every = sorted(duration for durations in parts for duration in durations)
    assert layout.counted(histogram) == counted(every)
    added = [layout.observe(EMPTY, durations) for durations in parts]
    assert reduce(Histogram.plus, added) == histogram
    assert layout.cumulative(histogram) == [
        *(bisect_right(every, round(bound * SECOND)) for bound in bounds),
        len(every),
    ]
    assert (histogram.count, histogram.total) == (len(every), sum(every))


@given(DURATIONS.map(lambda durations: durations * 64))
def test_many_durations_at_once_are_counted_as_one_by_one(durations: list[int]) -> None:
    layout, histogram = Layout([0.5, 1.0, 30.0]), EMPTY
    for begin in range(0, len(durations), 7):
        histogram = layout.observe(histogram, durations[begin : begin + 7])
    assert layout.observe(EMPTY, durations) == histogram
