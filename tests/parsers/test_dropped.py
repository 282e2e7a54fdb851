"""A dropped value counts once, and its example shows no text of a user."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parsers.batch import DroppedValue
from parsers.dropped import dropped, dropped_values


@pytest.mark.parametrize("given", [None, "", "-", "null", b"", b"-", b" - ", "[-]"])
def test_a_value_that_is_not_known_is_not_dropped(given: object) -> None:
    assert dropped("time", given, None) == ()


def test_a_parsed_value_is_not_dropped() -> None:
    assert dropped("tokens", "0", 0) == dropped("price", 0, 0.0) == ()


@pytest.mark.parametrize(
    ("given", "example"),
    [
        (b"2026-13-45T08:00:00Z", "2026-13-45T08:00:00Z"),
        ("Sun Nov 29 08:00:01 2026", "Sun Nov 29 08:00:01 2026"),
        ("my secret, written on 2026-11-29", "xx xxxxxx, xxxxxxx xx 2026-11-29"),
        ("Novak", "xxxxx"),
        ("\x1b[31mred\n", "x[31xxxxx"),
        (b"\xff\xfe1", "xx1"),
        ("机密 1", "xx 1"),
        ("9" * 100, "9" * 40),
        (-1, "-1"),
        (math.nan, "xxx"),
        (True, "xxxx"),
        ({"prompt": "secret"}, "{}"),
        (["secret"], "[]"),
        pytest.param(10**5000, "1e4983", id="longer than Python prints"),
    ],
)
def test_an_example_is_bounded_and_masked(given: object, example: str) -> None:
    assert dropped("time", given, None) == (DroppedValue("time", 1, example),)


def test_many_values_give_one_record_with_one_example() -> None:
    assert dropped_values("bytes", [b"-", b"1.5", b"x", b""]) == (DroppedValue("bytes", 2, "1.5"),)
    assert dropped_values("bytes", []) == dropped_values("bytes", [b"-"]) == ()


@given(value=st.binary() | st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()))
@example(value="AA\x1fE\x1fAAAAA")
def test_any_value_gives_a_short_printable_example_without_unknown_words(value: object) -> None:
    for record in dropped("time", value, None):
        assert re.fullmatch(r"[ -~]{0,40}", record.example)
        assert all(set(word) == {"x"} or len(word) <= 9 for word in re.findall(r"[A-Za-z]+", record.example))
