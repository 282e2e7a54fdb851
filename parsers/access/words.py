"""Texts of a block as words of eight bytes, so that numpy compares many texts of different lengths at once."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

#: Keeps the first bytes of a word: all eight for 0.
_FIRST_BYTES: Words = np.array([2**64 - 1, *(2 ** (8 * size) - 1 for size in range(1, 8))], np.uint64)

#: Odd numbers without a pattern in their bits: the fractions of the golden ratio and of the square root of 3.
_GOLDEN, _ROOT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


#: How many bytes are searched at once, so that what numpy makes of them stays in the cache.
_SEARCHED = 1 << 18


class Texts(NamedTuple):
    """Texts, one after the other. None of them is empty. The rest of the last word of a text is zero.

    * `words`: the words of all texts; `places`: for each word, its number in its text.
    * `begins`: for each text, where its words begin; `counts`: their number; `lengths`: its length in bytes.
    """

    words: Words
    places: Numbers
    begins: Numbers
    counts: Numbers
    lengths: Numbers


def every_word(data: bytes) -> Words:
    """Return the word that begins at each byte of `data`, as a view."""
    return np.ndarray((len(data) - 7,), np.dtype("<u8"), data, strides=(1,))


def texts_of(every: Words, at: Numbers, lengths: Numbers) -> Texts:
    """Return the texts that begin at `at`. Up to seven bytes behind them are read too."""
    counts = (lengths + 7) >> 3
    ends = np.cumsum(counts)
    begins = ends - counts
    places = np.arange(int(ends[-1]) if len(ends) else 0)
    places -= np.repeat(begins, counts)
    words = every[np.repeat(at, counts) + 8 * places]
    words[ends - 1] &= _FIRST_BYTES[lengths & 7]
    return Texts(words, places, begins, counts, lengths)


def offsets_of(size: int, is_wanted: Callable[[slice], Flags]) -> Numbers:
    """Return all wanted offsets below `size`. `is_wanted` looks at a part of them."""
    return np.concatenate([is_wanted(part).nonzero()[0] + part.start for part in _parts(size)])


def count_of(size: int, is_counted: Callable[[slice], Flags]) -> int:
    """Like `offsets_of`, but return only their number."""
    return sum(int(np.count_nonzero(is_counted(part))) for part in _parts(size))


def _parts(size: int) -> Iterator[slice]:
    return (slice(begin, min(size, begin + _SEARCHED)) for begin in range(0, size, _SEARCHED))


def each(byte: int) -> np.uint64:
    """Return a word of eight copies of a byte."""
    return np.uint64(byte * 0x0101010101010101)


def hold(texts: Texts, byte: int) -> Flags:
    """Return for each text whether it holds a byte, which is not 0."""
    other = texts.words ^ each(byte)
    # The subtraction sets the highest bit of a zero byte. Above the first zero byte of a word it may err.
    found = np.flatnonzero((other - each(0x01)) & ~other & each(0x80))
    held = np.zeros(len(texts.begins), bool)
    if len(found):
        held[np.searchsorted(texts.begins, found, side="right") - 1] = True
    return held


def sums(texts: Texts, words: Words) -> Words:
    """Return a number for each text, which is the same for equal texts. `words` replaces the words of the texts."""
    mixed = words * _GOLDEN
    mixed ^= mixed >> np.uint64(32)
    mixed *= (2 * texts.places + 1).view(np.uint64) * _ROOT
    total: Words = np.add.reduceat(mixed, texts.begins)
    return total ^ (total >> np.uint64(29))
