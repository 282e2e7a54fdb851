"""The protobuf library decodes the rows of numbers that are encoded at once, whatever their size."""

from itertools import pairwise
from typing import Any

from google.protobuf.internal.decoder import _DecodeVarint
from google.protobuf.internal.wire_format import ZigZagDecode
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.varints import columns, differences, size, varint

#: Rows of small, of large and of mixed numbers.
COUNTS = st.integers(0, 61).flatmap(lambda bits: st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=300))


def decoded(encoded: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(encoded):
        decode: Any = _DecodeVarint
        number, at = decode(encoded, at)
        numbers.append(number)
    return numbers


@given(COUNTS)
def test_differences(counts: list[int]) -> None:
    numbers = [ZigZagDecode(number) for number in decoded(differences(counts, max(counts)))]
    assert numbers == [after - before for before, after in pairwise([0, *counts])]


@given(COUNTS)
def test_the_bound_of_the_counts_may_be_higher(counts: list[int]) -> None:
    bound = min(sum(counts), 2**62 - 1)
    assert decoded(differences(counts, bound)) == decoded(differences(counts, max(counts)))


@given(COUNTS)
def test_columns(counts: list[int]) -> None:
    by_place = columns(counts, size(max(counts)))
    assert decoded(b"".join(bytes(each) for each in zip(*by_place, strict=True))) == counts


@given(st.integers(0, 2**64 - 1))
def test_one_number(number: int) -> None:
    assert decoded(varint(number)) == [number]
    assert len(varint(number)) == size(number)
