"""Read access lines by columns: numpy reads the regular lines of a large block without an object for each value.

nginx escapes a quote inside a value, so a regular line has exactly as many quotes as its format. Their offsets, found
in one pass, split a block into columns. The bytes between them are compared and converted eight at a time. Any line
that does not match the plan exactly (one with a user name, a list of upstreams, garbage) is left to
`parsers.access.rows`. A test checks that both ways give the same result.

numpy takes 16 to 30 MB of memory and 0.1 s to import, so `parsers.access.rows` imports this module only for a large
window.
"""

import re
from itertools import compress

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from parsers.access.plan import SECONDS, SIZE, STATUS, TEXT, TIME, WORD, ColumnPlan, Field
from parsers.access.request_line import HEAD
from parsers.access.shapes import SHAPE

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

UNKNOWN = -1

_QUOTE, _NEWLINE, _RETURN, _BLANK, _QUESTION, _DASH = b'"\n\r ?-'
_VERSIONS = [int.from_bytes(b"HTTP/" + version, "little") for version in (b"1.1", b"1.0", b"2.0", b"3.0")]
_TIME_TEXT = re.compile(rb"[0-9]{2}/[A-Za-z]{3}/[0-9:]{13} [+-][0-9]{4}")


class Columns(Struct, frozen=True):
    """The regular lines of a block.

    * `numbers`: an array per variable, UNKNOWN for `-`. Durations are in milliseconds.
    * `heads`: METHOD SP PATH of each line; `shapes`: their shapes.
    * `times`: the distinct event times, as they are written.
    * `other_lines`: all other lines of the block.
    """

    numbers: dict[str, Numbers]
    heads: list[bytes]
    shapes: list[bytes]
    times: set[bytes]
    other_lines: bytes


def read(plan: ColumnPlan, block: bytes) -> Columns:
    """Read the columns of a block of whole lines."""
    return _ColumnReader(plan, block).columns()


class _ColumnReader:
    """Reads one block. A word of eight bytes may begin anywhere, so the block has padding on both sides.

    `begins` and `ends` are the offsets of all lines, `lines` the numbers of those with the right number of quotes, and
    `marks` the offsets of their quotes. `fits` says for each of them whether it still matches the plan.
    """

    def __init__(self, plan: ColumnPlan, block: bytes) -> None:
        self.plan = plan
        self.data = bytes(8) + block + (b"" if block.endswith(b"\n") else b"\n") + bytes(256)
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.words: Words = np.ndarray((len(self.data) - 7,), np.dtype("<u8"), self.data, strides=(1,))
        self.ends: Numbers = np.flatnonzero(self.bytes == _NEWLINE)
        self.begins: Numbers = np.concatenate(([8], self.ends[:-1] + 1))
        quotes = np.flatnonzero(self.bytes == _QUOTE)
        quotes_before = np.searchsorted(quotes, self.ends)
        count = np.diff(quotes_before, prepend=0)
        self.lines: Numbers = np.flatnonzero((count == 2 * len(plan.cells)) & (self.bytes[self.begins] != _RETURN))
        first = (quotes_before - count)[self.lines]
        self.marks = [quotes[first + number] for number in range(2 * len(plan.cells))]
        self.fits: Flags = np.ones(len(self.lines), bool)
        self.numbers: dict[str, Numbers] = {}
        self.time_at: Numbers | None = None

    def columns(self) -> Columns:
        edges = [self.begins[self.lines], *self.marks, self.ends[self.lines]]
        for number, gap in enumerate(self.plan.gaps):
            self._read_gap(gap, edges[2 * number] + bool(number), edges[2 * number + 1])
        for number, name in enumerate(self.plan.cells):
            if name == "upstream_header_time":
                begin, end = self.marks[2 * number] + 1, self.marks[2 * number + 1]
                self._read_number(SECONDS, name, end, end - begin, may_be_unknown=True)
        times = self._times()
        heads, shapes = self._heads()
        is_other = np.ones(len(self.ends), bool)
        is_other[self.lines[self.fits]] = False
        is_of_other = np.repeat(is_other, self.ends + 1 - self.begins)
        other_lines = self.bytes[8 : 8 + len(is_of_other)][is_of_other].tobytes()
        numbers = {name: each[self.fits] for name, each in self.numbers.items()}
        return Columns(numbers, heads, shapes, times, other_lines)

    def _read_gap(self, gap: tuple[Field, ...], begin: Numbers, end: Numbers) -> None:
        """Read the fields between two quotes. At most one of them has no fixed width."""
        width = end - begin - sum(field.width for field in gap)
        varies = any(not field.width for field in gap)
        self.fits &= width >= 1 if varies else width == 0
        at = begin
        if not self.fits.all():  # the offsets of other lines must stay inside the block
            width, at = np.where(self.fits, width, 0), np.where(self.fits, begin, 8)
        for field in gap:
            if field.kind == TEXT:
                self.fits &= self._equals(at, field.text)
            elif field.kind == TIME:
                self.time_at = at
            elif field.kind == STATUS:
                self._read_number(SIZE, field.name, at + 3, np.full(len(at), 3))
            elif field.kind == WORD:
                self.fits &= self._lacks(field.text[0], at, width)
            else:
                self._read_number(field.kind, field.name, at + width, width)
            at = at + (field.width or width)

    def _equals(self, at: Numbers, text: bytes) -> Flags:
        """Return for each offset whether this text begins there."""
        if len(text) == 1:
            is_byte: Flags = self.bytes[at] == text[0]
            return is_byte
        found = np.ones(len(at), bool)
        for begin in range(0, len(text), 8):
            part = text[begin : begin + 8]
            mask = np.uint64((1 << 8 * len(part)) - 1)
            found &= (self.words[at + begin] & mask) == np.uint64(int.from_bytes(part, "little"))
        return found

    def _lacks(self, byte: int, at: Numbers, width: Numbers) -> Flags:
        """Return for each offset whether a byte does not occur in the next `width` bytes, at most 48."""
        absent = width <= 48
        for begin in range(0, min(int(width.max(initial=0)), 48), 8):
            # The subtraction sets the highest bit of a zero byte. It is certain for the first zero byte of a word.
            word = self.words[np.minimum(at + begin, len(self.words) - 1)] ^ _each(byte)
            found = (word - _each(0x01)) & ~word & _each(0x80)
            inside = np.clip(width - begin, 0, 8).astype(np.uint64)
            absent &= (inside == 0) | (found << (np.uint64(64) - np.maximum(inside, 1) * np.uint64(8)) == 0)
        return absent

    def _read_number(self, kind: str, name: str, end: Numbers, width: Numbers, *, may_be_unknown: bool = False) -> None:
        """Read numbers of at most eight decimal digits. With SECONDS one is a dot, with three digits behind it.

        The first digit is the lowest byte of a word. Neighbours are combined: bytes to pairs, pairs to fours, fours to
        one number.
        """
        word = self.words[end - 8] ^ _each(0x30)
        before = np.clip(8 - width, 0, 7).astype(np.uint64) * np.uint64(8)
        word = word >> before << before
        least, fits = 1, width <= 8
        if kind == SECONDS:
            least = 5
            fits &= (word >> np.uint64(32)) & np.uint64(0xFF) == ord(".") ^ 0x30
            word = ((word & np.uint64(0xFFFFFFFF)) << np.uint64(8)) | (word & np.uint64(0xFFFFFF << 40))
        fits &= (width >= least) & ((word | (word + _each(0x80 - 10))) & _each(0x80) == 0)
        for digits, mask in ((1, 0x00FF00FF00FF00FF), (2, 0x0000FFFF0000FFFF), (4, 0xFFFFFFFF)):
            word = (word * np.uint64(10**digits) + (word >> np.uint64(8 * digits))) & np.uint64(mask)
        number = word.astype(np.int64)
        if may_be_unknown:
            unknown = (width == 1) & (self.bytes[end - 1] == _DASH)
            number[unknown] = UNKNOWN
            fits |= unknown
        self.fits &= fits
        self.numbers[name] = number

    def _times(self) -> set[bytes]:
        """Return the distinct event times. A line without a valid time no longer fits.

        Consecutive lines mostly have the same time, so only changes are looked at.
        """
        lines = np.flatnonzero(self.fits)
        if self.time_at is None or not len(lines):
            return set()
        at = self.time_at[lines]
        changes = np.ones(len(at), bool)
        changes[1:] = False
        for offset in (0, 8, 16, 18):
            words = self.words[at + offset]
            changes[1:] |= words[1:] != words[:-1]
        runs = np.flatnonzero(changes)
        texts = [self.data[place : place + 26] for place in at[runs].tolist()]
        good = {text for text in set(texts) if _TIME_TEXT.fullmatch(text)}
        if len(good) < len(set(texts)):
            lengths = np.diff(runs, append=len(at))
            self.fits[lines] = np.repeat([text in good for text in texts], lengths)
        return good

    def _heads(self) -> tuple[list[bytes], list[bytes]]:
        """Return method and path of each regular request, and their shapes. Other lines no longer fit."""
        number = self.plan.cells.index("request")
        begin, end = self.marks[2 * number] + 1, self.marks[2 * number + 1]
        version = self.words[end - 8]
        known = np.zeros(len(version), bool)
        for each in _VERSIONS:
            known |= version == np.uint64(each)
        self.fits &= known & (end - begin > 10) & (self.bytes[end - 9] == _BLANK)
        end = end - 9
        questions = np.append(np.flatnonzero(self.bytes == _QUESTION), len(self.data))
        cut = np.minimum(questions[np.searchsorted(questions, begin)], end)
        self._queries(cut, end)
        lines = np.flatnonzero(self.fits)
        spans = zip(begin[lines].tolist(), cut[lines].tolist(), strict=True)
        heads = [self.data[first:last] for first, last in spans]
        shapes = [head.translate(SHAPE) for head in heads]
        bad = {each for each in set(shapes) if not HEAD.fullmatch(each)}
        if bad:
            self.fits[lines] = regular = [each not in bad for each in shapes]
            heads, shapes = list(compress(heads, regular)), list(compress(shapes, regular))
        return heads, shapes

    def _queries(self, begin: Numbers, end: Numbers) -> None:
        """Let lines whose query contains a blank or an escape no longer fit."""
        lines = np.flatnonzero(self.fits & (begin < end))
        spans = zip(begin[lines].tolist(), end[lines].tolist(), strict=True)
        queries = [self.data[first:last] for first, last in spans]
        together = b"".join(queries)
        if b" " in together or b"\\" in together:
            self.fits[lines] = [b" " not in query and b"\\" not in query for query in queries]


def _each(byte: int) -> np.uint64:
    """Return a word of eight copies of a byte."""
    return np.uint64(byte * 0x0101010101010101)
