"""The exponential buckets: every duration is in the right one, and quantiles are within 4.5 % of exact."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger import exponential
from parsers.values.numbers import SECOND
from tests.durations import counted

DURATIONS = st.integers(0, 2**63 - 1) | st.integers(0, 1200 * 1000).map(lambda ms: ms * 1_000_000) | st.integers(0, 99)


@given(DURATIONS)
def test_a_duration_lies_between_the_bounds_of_its_bucket_exactly(duration: int) -> None:
    [number] = counted([duration])
    index = number + exponential.ZERO_INDEX
    if not duration:
        assert number == 0
        return
    eighth_power = Fraction(duration, SECOND) ** 8
    assert Fraction(2) ** (index - 1) < eighth_power <= Fraction(2) ** index


@pytest.mark.parametrize("exponent", range(-10, 11))
def test_a_power_of_two_is_the_upper_bound_of_its_bucket(exponent: int) -> None:
    duration = Fraction(2) ** exponent * SECOND
    [number] = counted([int(duration)])
    assert number + exponential.ZERO_INDEX == 8 * exponent


@given(st.lists(DURATIONS, min_size=1, max_size=40), st.integers(2, 9))
def test_many_durations_at_once_count_like_one_by_one(durations: list[int], times: int) -> None:
    many = durations * (64 // len(durations) + times)
    expected: dict[int, int] = {}
    for duration in many:
        exponential.merge(expected, counted([duration]))
    assert counted(many) == expected


@given(st.lists(DURATIONS, min_size=1, max_size=40), st.lists(DURATIONS, min_size=1, max_size=40))
def test_observing_in_parts_gives_the_same_counts(some: list[int], more: list[int]) -> None:
    parts = counted(some)
    exponential.merge(parts, counted(more))
    assert parts == counted(some + more)
    assert sum(parts.values()) == len(some) + len(more)


@given(st.lists(DURATIONS.filter(bool), min_size=1, max_size=60), st.sampled_from((0.0, 0.5, 0.95, 0.99, 1.0)))
def test_a_quantile_is_within_4_5_percent_of_exact(durations: list[int], q: float) -> None:
    exact = sorted(durations)[max(1, ceil(q * len(durations))) - 1] / SECOND
    assert exponential.quantile(q, counted(durations)) == pytest.approx(exact, rel=0.045)


def test_quantiles_of_nothing_and_of_zeros() -> None:
    assert exponential.quantile(0.5, {}) is None
    assert exponential.quantile(0.5, counted([0, 0, SECOND])) == 0.0
    assert exponential.quantile(0.99, counted([0, 0, SECOND])) == pytest.approx(1.0, rel=0.045)


def test_the_cache_of_numbers_is_bounded() -> None:
    numbers = exponential.Numbers(exponential.BOUNDS)
    for duration in range(0, 20_000 * 1_000_000, 1_000_000):
        numbers.counts([duration])
    assert len(numbers) == 8192
