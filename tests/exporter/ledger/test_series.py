"""Caps, folding and cleaning of label sets; exact sums."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import catalogue as c
from exporter.ledger.histogram import EMPTY, layout
from exporter.ledger.series import Limits, Series


def new_series(**limits: int) -> Series:
    return Series(Limits(**limits), clock=lambda: 1000.0)


def test_counters_add_exactly() -> None:
    series = new_series()
    for amount in (Decimal("0.1"), Decimal("0.2"), Decimal("0.3")):
        series.add(c.COST, ("s", "a", "p", "m", "USD", "reported"), amount)
    assert series.counters[c.COST] == {("s", "a", "p", "m", "USD", "reported"): Decimal("0.6")}


def test_a_bucket_holds_its_upper_bound() -> None:
    series = new_series()
    series.observe(
        c.NODE_RUN_DURATION,
        ("s", "llm"),
        series.layouts[c.NODE_RUN_DURATION].observe(EMPTY, [500_000_000, 500_000_001, 10**13]),
    )
    found = series.histograms[c.NODE_RUN_DURATION]["s", "llm"]
    assert layout(c.RUN_BUCKETS).cumulative(found) == [1, *[2] * 10, 3]
    assert found.total == 500_000_000 + 500_000_001 + 10**13


def test_beyond_the_cap_open_labels_fold_and_totals_stay_exact() -> None:
    """First come, for ever: a series that exists is never folded later."""
    series = new_series(series_per_counter=3)
    for number in range(100):
        series.add(c.REQUESTS, ("s", "GET", f"/route/{number}", "200"))
    series.add(c.REQUESTS, ("s", "GET", "/route/0", "200"))
    values = series.counters[c.REQUESTS]
    assert values["s", "GET", "/route/0", "200"] == 2
    assert values["s", "GET", "other", "200"] == 97
    assert sum(values.values()) == 101
    assert len(values) == 4
    assert series.counters[c.FOLDED_OBSERVATIONS] == {("dify_requests_total",): 97}


def test_closed_labels_never_fold() -> None:
    series = new_series(series_per_counter=1)
    for status in ("200", "404", "502"):
        series.add(c.REQUESTS, ("s", "GET", "/a", status))
    assert set(series.counters[c.REQUESTS]) == {
        ("s", "GET", "/a", "200"),
        ("s", "GET", "other", "404"),
        ("s", "GET", "other", "502"),
    }


def test_histograms_fold_and_count_each_observation() -> None:
    series = new_series(series_per_histogram=1)
    series.observe(
        c.TIME_TO_FIRST_TOKEN, ("s", "app-1", "m"), series.layouts[c.TIME_TO_FIRST_TOKEN].observe(EMPTY, [1, 2])
    )
    series.observe(
        c.TIME_TO_FIRST_TOKEN, ("s", "app-2", "m"), series.layouts[c.TIME_TO_FIRST_TOKEN].observe(EMPTY, [3, 4, 5])
    )
    assert series.histograms[c.TIME_TO_FIRST_TOKEN]["s", "other", "other"].count == 3
    assert series.counters[c.FOLDED_OBSERVATIONS] == {("dify_time_to_first_token_seconds",): 3}


def test_a_series_keeps_the_time_of_its_birth() -> None:
    now = [5.0]
    series = Series(Limits(), clock=lambda: now[0])
    series.add(c.ERRORS, ("s", "other"), 0)
    now[0] = 9.0
    series.add(c.ERRORS, ("s", "other"))
    assert series.created[c.ERRORS] == {("s", "other"): 5.0}


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("", "unknown"),
        ("gpt-4.1", "gpt-4.1"),
        ("模型", "模型"),
        ("\ud800", "?"),
        ("a\nb\x00c", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"),
        ("x" * 500, "x" * 128),
    ],
)
def test_label_values_are_cleaned(raw: str, kept: str) -> None:
    series = new_series()
    series.add(c.UNPRICED_TOKENS, ("s", "p", raw), 7)
    series.add(c.UNPRICED_TOKENS, ("s", "p", raw), 7)
    assert series.counters[c.UNPRICED_TOKENS] == {("s", "p", kept): 14}


@given(
    st.lists(st.tuples(st.text(max_size=3), st.integers(1, 5)), max_size=60),
    st.integers(1, 8),
)
def test_the_total_is_exact_under_any_labels(additions: list[tuple[str, int]], cap: int) -> None:
    series = new_series(series_per_counter=cap)
    for label, amount in additions:
        series.add(c.TOKENS_USED, ("s", label, label, label, "input"), amount)
    assert sum(series.counters[c.TOKENS_USED].values()) == sum(amount for _, amount in additions)
    assert len(series.counters[c.TOKENS_USED]) <= cap + 1
