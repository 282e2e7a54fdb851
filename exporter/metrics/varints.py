"""Encodes rows of numbers as varints of Protocol Buffers, because one number after another is too slow in Python.

A row is one large integer with a lane of 8, 16, 32 or 64 bits per number, so that one operation does the same to all of
its numbers. A varint holds 7 bits of its number per byte, the lowest first, and the highest bit of a byte says that
another byte follows (https://protobuf.dev/programming-guides/encoding/). All varints of a row have the same length:
the specification allows zeros at the end of a number.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

#: The bits of a lane, and its format in `struct`, by the length of the varints in bytes.
_LANES = {1: (8, "B"), 2: (16, "H"), 3: (32, "I"), 4: (32, "I")} | dict.fromkeys(range(5, 10), (64, "Q"))


@lru_cache(maxsize=1 << 14)
def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def size(number: int) -> int:
    return (number.bit_length() + 6) // 7 or 1


def columns(numbers: Sequence[int], length: int) -> list[bytes]:
    """Encode numbers of at least 0 and below 2^63 as varints of `length` bytes.

    Returns the first byte of every varint, then the second byte of every varint, and so on.
    """
    row, lane = _row(numbers, length)
    return _columns(row, lane, len(numbers), length)


def differences(counts: Sequence[int], largest: int) -> bytes:
    """Encode the difference of each count to the one before it, in the zigzag form of signed numbers.

    The first count is a difference to 0. There is at least one, and all are from 0 to `largest`, which is below 2^62.
    """
    length, number = size(2 * largest), len(counts)
    row, lane = _row(counts, length)
    ones = _ones(number, lane)
    # With the highest bit of each lane set, no difference is negative, and no lane borrows from the next one.
    sign = ones << lane - 1
    row = (row | sign) - (row << lane & (1 << lane * number) - 1)
    # Zigzag: 2 * difference, or -2 * difference - 1 if it is negative.
    negative = (row & sign ^ sign) >> lane - 1
    row = (row & ~sign ^ (negative << lane - 1) - negative) << 1 | negative
    while length > 1 and not row & ones * 0x7F << 7 * (length - 1):
        length -= 1
    encoded = bytearray(length * number)
    for place, column in enumerate(_columns(row, lane, number, length)):
        encoded[place::length] = column
    return bytes(encoded)


def _row(numbers: Sequence[int], length: int) -> tuple[int, int]:
    """The row of numbers whose varints have at most `length` bytes, and the bits of its lanes."""
    lane, code = _LANES[length]
    return int.from_bytes(_packer(len(numbers), code)(*numbers), "little"), lane


@lru_cache(maxsize=1024)
def _packer(number: int, code: str) -> Callable[..., bytes]:
    return Struct(f"<{number}{code}").pack


def _columns(row: int, lane: int, number: int, length: int) -> list[bytes]:
    """The bytes of the varints of a row: the first ones, the second ones, and so on."""
    width, step, more = number * lane // 8, lane // 8, _ones(number, lane) << 7
    result = [(row >> shift | more).to_bytes(width, "little")[::step] for shift in range(0, 7 * length - 7, 7)]
    return [*result, (row >> 7 * length - 7).to_bytes(width, "little")[::step]]


@lru_cache(maxsize=1024)
def _ones(number: int, lane: int) -> int:
    return int.from_bytes((1).to_bytes(lane // 8, "little") * number, "little")
