"""A shortened JSON document: long strings are replaced, everything else is equal, for every size of the pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy.bounded_json import BoundedJson

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=600) | st.text('\\"\n', max_size=600),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def shortened(text: bytes, size: int) -> bytes:
    document = BoundedJson()
    for at in range(0, len(text), size):
        document.feed(text[at : at + size])
    return document.take()


def assert_shortened(value: Any, original: Any) -> None:
    """Each string is equal to the original or, if the original is long, shortened."""
    assert type(value) is type(original)
    if isinstance(value, dict):
        assert list(value) == list(original)
        for key in value:
            assert_shortened(value[key], original[key])
    elif isinstance(value, list):
        assert len(value) == len(original)
        for one, other in zip(value, original, strict=True):
            assert_shortened(one, other)
    elif isinstance(value, str) and value != original:
        assert value == "~" or (len(value) > 400 and original.startswith(value))
        assert len(json.dumps(original)) > 512
    else:
        assert value == original


@given(JSON, st.integers(1, 50), st.booleans())
def test_only_long_strings_change(document: Any, size: int, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = shortened(text, size)
    assert found == shortened(text, len(text))
    assert_shortened(json.loads(found), document)


def test_a_string_of_20_megabytes_becomes_one_character() -> None:
    document = BoundedJson()
    document.feed(b'{"answer": "')
    piece = b'a\\"b\\\\' * 10_000
    for _ in range(340):
        document.feed(piece)
    document.feed(b'", "metadata": {"usage": {"prompt_tokens": 1}}}')
    assert json.loads(document.take()) == {"answer": "~", "metadata": {"usage": {"prompt_tokens": 1}}}


def test_a_document_that_stays_too_long_is_dropped() -> None:
    document = BoundedJson()
    for _ in range(1000):
        document.feed(b"[" * 1000)
    assert document.take() == b""
    document.feed(b"{}")
    assert document.take() == b"{}"


@pytest.mark.parametrize("unit", ["a", "é", "漢", "😀", '"', "\\", "\n", "é\\", 'a"'])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_error_text_keeps_its_first_4096_bytes(unit: str, ascii_only: bool) -> None:
    length = len(json.dumps(unit, ensure_ascii=ascii_only).encode()) - 2
    for shift in range(4):
        message = "b" * shift + unit * (5000 // length)
        name = ("message", "error")[shift % 2]
        text = json.dumps({name: message, "code": "c"}, ensure_ascii=ascii_only).encode()
        for size in (1, 4095, 4096, 4097, 10**6):
            found = json.loads(shortened(text, size))
            assert found["code"] == "c", size
            assert message.startswith(found[name]), size
            assert 4096 - 16 < len(json.dumps(found[name], ensure_ascii=ascii_only).encode()) <= 4096 + 2, size


def test_only_16_error_texts_are_kept() -> None:
    text = json.dumps([{"message": "m" * 5000}] * 1000 + [{"error": "e" * 600}]).encode()
    found = json.loads(shortened(text, 4096))
    assert [len(each["message"]) for each in found[:-1]] == [4096] * 16 + [1] * 984
    assert found[-1] == {"error": "~"}
