"""Access lines as columns: numpy reads the regular lines of a large block without making an object for each value.

nginx escapes a quote inside a value, so a regular line holds as many quotes as its format. Their places, found in one
pass, cut a block into columns; what stands between them is compared and converted eight bytes at a time. Whatever is
not exactly as planned (a user's name, a list of upstreams, garbage) is left to the rows of `parsers.access`, line by
line; a test holds that both ways give the same.

numpy is optional and costs 25 MB: nothing but a large window makes `parsers.access` import this module.
"""

import re
from itertools import compress

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from parsers.access.plan import SECONDS, SIZE, STATUS, TEXT, TIME, WORD, Field, Plan
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
    """The regular lines of a block: numbers by the variable's name, UNKNOWN for `-`; `heads` are METHOD SP PATH, with
    their shapes.

    Times are in thousandths of a second. `times` are the distinct event times as written, `odd` are all other lines.
    """

    numbers: dict[str, Numbers]
    heads: list[bytes]
    shapes: list[bytes]
    times: set[bytes]
    odd: bytes


def read(plan: Plan, block: bytes) -> Columns:
    """The columns of whole lines."""
    return _Reading(plan, block).columns()


class _Reading:
    """One block. Words of eight bytes may begin anywhere, hence the padding on both sides."""

    def __init__(self, plan: Plan, block: bytes) -> None:
        self.plan = plan
        self.data = bytes(8) + block + (b"" if block.endswith(b"\n") else b"\n") + bytes(256)
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.words: Words = np.ndarray((len(self.data) - 7,), np.dtype("<u8"), self.data, strides=(1,))
        self.ends: Numbers = np.flatnonzero(self.bytes == _NEWLINE)
        self.begins: Numbers = np.concatenate(([8], self.ends[:-1] + 1))
        quotes = np.flatnonzero(self.bytes == _QUOTE)
        behind = np.searchsorted(quotes, self.ends)
        count = np.diff(behind, prepend=0)
        self.lines: Numbers = np.flatnonzero((count == 2 * len(plan.cells)) & (self.bytes[self.begins] != _RETURN))
        first = (behind - count)[self.lines]
        self.marks = [quotes[first + number] for number in range(2 * len(plan.cells))]
        self.fits: Flags = np.ones(len(self.lines), bool)
        self.numbers: dict[str, Numbers] = {}
        self.time_at: Numbers | None = None

    def columns(self) -> Columns:
        edges = [self.begins[self.lines], *self.marks, self.ends[self.lines]]
        for number, gap in enumerate(self.plan.gaps):
            self._gap(gap, edges[2 * number] + bool(number), edges[2 * number + 1])
        for number, name in enumerate(self.plan.cells):
            if name == "upstream_header_time":
                begin, end = self.marks[2 * number] + 1, self.marks[2 * number + 1]
                self._number(SECONDS, name, end, end - begin, may_be_unknown=True)
        times = self._times()
        heads, shapes = self._heads()
        odd = np.ones(len(self.ends), bool)
        odd[self.lines[self.fits]] = False
        spans = zip(self.begins[odd].tolist(), self.ends[odd].tolist(), strict=True)
        rest = b"".join([self.data[begin : end + 1] for begin, end in spans])
        numbers = {name: each[self.fits] for name, each in self.numbers.items()}
        return Columns(numbers, heads, shapes, times, rest)

    def _gap(self, gap: tuple[Field, ...], begin: Numbers, end: Numbers) -> None:
        """Reads what stands between two quotes, of which at most one field varies in width."""
        width = end - begin - sum(field.width for field in gap)
        varies = any(not field.width for field in gap)
        self.fits &= width >= 1 if varies else width == 0
        at = begin
        if not self.fits.all():  # others must not lead out of the block
            width, at = np.where(self.fits, width, 0), np.where(self.fits, begin, 8)
        for field in gap:
            if field.kind == TEXT:
                self.fits &= self._is(at, field.text)
            elif field.kind == TIME:
                self.time_at = at
            elif field.kind == STATUS:
                self._number(SIZE, field.name, at + 3, np.full(len(at), 3))
            elif field.kind == WORD:
                self.fits &= self._without(field.text[0], at, width)
            else:
                self._number(field.kind, field.name, at + width, width)
            at = at + (field.width or width)

    def _is(self, at: Numbers, text: bytes) -> Flags:
        """Whether a text stands at these places."""
        if len(text) == 1:
            alone: Flags = self.bytes[at] == text[0]
            return alone
        found = np.ones(len(at), bool)
        for begin in range(0, len(text), 8):
            part = text[begin : begin + 8]
            mask = np.uint64((1 << 8 * len(part)) - 1)
            found &= (self.words[at + begin] & mask) == np.uint64(int.from_bytes(part, "little"))
        return found

    def _without(self, byte: int, at: Numbers, width: Numbers) -> Flags:
        """Whether a byte does not occur in so many bytes, at most 48."""
        absent = width <= 48
        for begin in range(0, min(int(width.max(initial=0)), 48), 8):
            # A zero byte borrows from its highest bit; of several the first is told for certain.
            word = self.words[np.minimum(at + begin, len(self.words) - 1)] ^ _each(byte)
            found = (word - _each(0x01)) & ~word & _each(0x80)
            inside = np.clip(width - begin, 0, 8).astype(np.uint64)
            absent &= (inside == 0) | (found << (np.uint64(64) - np.maximum(inside, 1) * np.uint64(8)) == 0)
        return absent

    def _number(self, kind: str, name: str, end: Numbers, width: Numbers, *, may_be_unknown: bool = False) -> None:
        """Reads at most eight decimal digits; with SECONDS a dot is one of them, and three stand behind it.

        The first digit is a word's lowest byte. Neighbours are joined: bytes to pairs, pairs to fours, those to one.
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
        """The distinct event times; one that is none makes its lines odd. Neighbours mostly share one."""
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
        """Method and path of each regular request, and their shapes; the lines of others become odd."""
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
        """A query with a blank or an escape makes its line odd."""
        lines = np.flatnonzero(self.fits & (begin < end))
        spans = zip(begin[lines].tolist(), end[lines].tolist(), strict=True)
        queries = [self.data[first:last] for first, last in spans]
        together = b"".join(queries)
        if b" " in together or b"\\" in together:
            self.fits[lines] = [b" " not in query and b"\\" not in query for query in queries]


def _each(byte: int) -> np.uint64:
    """A word of eight such bytes."""
    return np.uint64(byte * 0x0101010101010101)
