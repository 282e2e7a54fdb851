"""Invalid JSON, as Python's json.dumps writes it."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.values import json as lenient_json


class Line(msgspec.Struct):
    x: object
    y: str = ""


decode = lenient_json.decoder(Line)

TEXT = st.text(st.characters() | st.sampled_from('"\\NaN\ud800\udc00'), max_size=12)
VALUES = st.recursive(st.none() | st.floats() | TEXT, lambda v: st.lists(v, max_size=3), max_leaves=6)


def repaired(value: object) -> object:
    """Return the expected result for a value that json.dumps has written."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [repaired(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value


@given(VALUES, TEXT)
def test_whatever_python_writes_is_read(x: object, y: str) -> None:
    line = decode(json.dumps({"x": x, "y": y}).encode())
    assert line.x == repaired(x)
    assert line.y == repaired(y)


@pytest.mark.parametrize("piece", ["\N{GRINNING FACE}", 'é"', "\\", "\ud83d-"])
def test_a_string_of_many_escapes_is_read(piece: str) -> None:
    for begin in ("", "a", "é"):
        y = begin + 5_000 * piece
        assert decode(json.dumps({"x": math.nan, "y": y}).encode()).y == repaired(y)


@pytest.mark.parametrize(
    ("text", "y"),
    [
        (rb'{"x":1,"y":"\ud83d\ude00"}', "\N{GRINNING FACE}"),
        (rb'{"x":NaN,"y":"\\ud83d -Infinity"}', r"\ud83d -Infinity"),
        (rb'{"x":1,"y":"\ud83d\ud83d\ude00\ude00"}', "\ufffd\N{GRINNING FACE}\ufffd"),
        (b'{"x":1,"y":"\xff\xc3"}', "\ufffd\ufffd"),
        (b'{"x":1e999,"y":"1e999"}', "1e999"),
        (b'{"x":[-1e-999,0.1,' + b"9" * 9999 + b'],"y":"1"}', "1"),
    ],
)
def test_only_invalid_json_is_repaired(text: bytes, y: str) -> None:
    assert decode(text).y == y


@pytest.mark.parametrize(
    "text", [b'{"x":nan}', b'{"x":NaN1}', b'{"x":1-2e}', b'{"x":1e999e}', b'{"x":1', b'"', b"", b"\\", b'{"x":"\\']
)
def test_other_text_stays_invalid(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
