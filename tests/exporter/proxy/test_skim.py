"""JSON with its long strings replaced: the same document otherwise, however it is cut."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy.bounded_json import BoundedJson

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=600) | st.text('\\"\n', max_size=600),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def skimmed(text: bytes, size: int) -> bytes:
    document = BoundedJson()
    for at in range(0, len(text), size):
        document.feed(text[at : at + size])
    return document.take()


def shape(value: Any, original: Any) -> None:
    """Every string is itself or, if long, its replacement."""
    assert type(value) is type(original)
    if isinstance(value, dict):
        assert list(value) == list(original)
        for key in value:
            shape(value[key], original[key])
    elif isinstance(value, list):
        assert len(value) == len(original)
        for one, other in zip(value, original, strict=True):
            shape(one, other)
    elif isinstance(value, str) and value != original:
        assert value == "~"
        assert len(json.dumps(original)) > 512
    else:
        assert value == original


@given(JSON, st.integers(1, 50), st.booleans())
def test_a_document_keeps_its_shape(document: Any, size: int, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = skimmed(text, size)
    assert found == skimmed(text, len(text))
    shape(json.loads(found), document)


def test_a_hundred_megabytes_in_a_string_are_one_character() -> None:
    document = BoundedJson()
    document.feed(b'{"answer": "')
    piece = b'a\\"b\\\\' * 10_000
    for _ in range(1700):
        document.feed(piece)
    document.feed(b'", "metadata": {"usage": {"prompt_tokens": 1}}}')
    assert json.loads(document.take()) == {"answer": "~", "metadata": {"usage": {"prompt_tokens": 1}}}


def test_what_is_too_long_even_so_is_nothing() -> None:
    document = BoundedJson()
    for _ in range(1000):
        document.feed(b"[" * 1000)
    assert document.take() == b""
    document.feed(b"{}")
    assert document.take() == b"{}"
