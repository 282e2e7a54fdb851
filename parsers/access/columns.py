"""Read access lines by columns: numpy reads the regular lines of a large block without an object for each line.

nginx escapes a quote inside a value, so a regular line has exactly as many quotes as its format. Their offsets, found
in one pass, split a block into columns. The bytes between them are compared and converted eight at a time. Any line
that does not match the plan exactly (one with a user name, a list of upstreams, garbage) is left to
`parsers.access.rows`. A test checks that both ways give the same result.

numpy takes 16 to 30 MB of memory and 0.1 s to import, so `parsers.access.rows` imports this module only for a large
window.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct

from parsers.access.block import BEFORE, BEHIND, Block
from parsers.access.heads import Head, grouped
from parsers.access.plan import SECONDS, STATUS, TEXT, TIME, WORD, ColumnPlan, Field
from parsers.access.words import Bytes, Flags, Numbers, hold, offsets_of, texts_of
from parsers.frame import FrameOf

UNKNOWN = -1

#: The size of a part in bytes. Its columns stay in the second-level cache. A smaller part costs more calls per line.
_PART = 3 << 19

#: A head of more bytes may end behind the padding of a block that ends with a short line.
_WIDEST = BEHIND // 2

#: How many frames are tried in a part, and the share of its lines, 1 / `_WORTH`, that a further one is worth. The time
#: of a line of CRI has up to nine digits of a second: nine of ten lines have nine, nine of a hundred have eight.
_MOST_FRAMES, _WORTH = 16, 256

_QUOTE, _NEWLINE, _RETURN, _BLANK, _QUESTION, _DASH = b'"\n\r ?-'
_VERSIONS = [int.from_bytes(b"HTTP/" + version, "little") for version in (b"1.1", b"1.0", b"2.0", b"3.0")]

#: A $time_local whose time of day exists. Within one date and zone, such texts sort like their times.
_TIME_TEXT = re.compile(rb"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] [+-][0-9]{4}")


class Columns(Struct, frozen=True):
    """The regular lines of a block.

    * `numbers`: an array per variable, UNKNOWN for `-`. Durations are in milliseconds.
    * `heads`: METHOD SP PATH with the status code, each pair once; `head_of`: the number of each line's pair.
    * `times`: the oldest and the newest event time of each date and zone, as they are written.
    * `other_lines`: the text of all other lines that are not empty; `empty_lines`: the number of empty lines.
    """

    numbers: dict[str, Numbers]
    heads: list[Head]
    head_of: Numbers
    times: list[bytes]
    other_lines: bytes
    empty_lines: int


class ColumnReader(Block):
    """Reads the columns of one block.

    `begins` and `ends` are the offsets of all lines. `lines` has the numbers of the lines with the right number of
    quotes and the right widths. `edges` has the offsets of their beginnings, their quotes and their ends. `fits` says
    for each of them whether it still matches the plan.

    In an envelope, `frame_of` gives what is stored around a line. `escape` is the number of bytes that are stored
    before each quote of the line. `tail` is the number of marks (see `_marks`) behind its last quote, with the newline.
    """

    escape, tail = 0, 1
    #: The bytes that a word and the query of a regular request do not contain.
    word_lacks, query_lacks = b"", b" \\"

    def __init__(self, plan: ColumnPlan, block: memoryview, frame_of: FrameOf | None) -> None:
        super().__init__(block)
        self.plan = plan
        marks, kinds = self._marks()
        last = np.flatnonzero(kinds == _NEWLINE)
        counts = np.diff(last, prepend=-1)
        self.ends: Numbers = marks[last]
        self.begins: Numbers = np.append(BEFORE, self.ends + 1)[:-1]
        size = 2 * len(plan.cells) + self.tail
        is_regular = counts == size
        if not is_regular.all():
            is_kept = np.repeat(is_regular, counts)
            marks, kinds = marks[is_kept], kinds[is_kept]
        self.lines: Numbers = np.flatnonzero(is_regular)
        self.edges = [self.begins[self.lines], *np.ascontiguousarray(marks.reshape(-1, size).T)]
        self.fits: Flags = self._have_quotes(kinds.reshape(-1, size))
        self.numbers: dict[str, Numbers] = {}
        self.statuses = np.zeros(len(self.lines), np.int64)
        self.time_at: Numbers | None = None
        if frame_of is not None:
            self._find_contents(frame_of)
        self.fits &= self.bytes[self.edges[0]] != _RETURN

    def columns(self, is_compared: Callable[[bytes], bool]) -> Columns:
        self._check_frames()
        for number, gap in enumerate(self.plan.gaps):
            self._read_gap(gap, *self._gap(number))
        for number, name in enumerate(self.plan.cells):
            if name == "upstream_header_time":
                begin, end = self._cell(number)
                self._read_number(SECONDS, name, end, end - begin, may_be_unknown=True)
        times = self._times()
        heads, head_of = self._heads(is_compared)
        is_other = self.ends > self.begins
        is_other[self.lines[self.fits]] = False
        spans = zip(self.begins[is_other].tolist(), self.ends[is_other].tolist(), strict=True)
        others = b"".join([self.data[begin : end + 1] for begin, end in spans])
        empty = len(self.ends) - len(head_of) - int(np.count_nonzero(is_other))
        numbers = {name: each[self.fits] for name, each in self.numbers.items()}
        return Columns(numbers, heads, head_of, times, others, empty)

    def _marks(self) -> tuple[Numbers, Bytes]:
        """Return the offsets of all quotes and ends of lines, and the bytes there."""
        data = self.bytes
        marks = offsets_of(len(data), lambda part: (data[part] == _QUOTE) | (data[part] == _NEWLINE))
        return marks, data[marks]

    def _have_quotes(self, kinds: Bytes) -> Flags:
        """Return for each line whether its marks, a row of `kinds`, are quotes where they must be."""
        return np.ones(len(kinds), bool)

    def _gap(self, number: int) -> tuple[Numbers, Numbers]:
        """Return the offsets of what is between two values with quotes."""
        return self.edges[2 * number] + (1 if number else 0), self.edges[2 * number + 1] - self.escape

    def _cell(self, number: int) -> tuple[Numbers, Numbers]:
        """Return the offsets of a value with quotes."""
        return self.edges[2 * number + 1] + 1, self.edges[2 * number + 2] - self.escape

    def _find_contents(self, frame_of: FrameOf) -> None:
        """Let each line begin behind its head. Lines without one of the usual frames no longer fit."""
        begins, tails, ends = self.edges[0], self._gap(len(self.plan.cells))[1], self.edges[-1]
        left, contents = np.flatnonzero(self.fits), begins.copy()
        self.fits[:] = False
        for _ in range(_MOST_FRAMES):
            if len(left) * _WORTH <= len(begins):
                break
            frame = frame_of(self.data[begins[left[0]] : ends[left[0]]])
            if frame is None or len(frame.head) > _WIDEST:
                left = left[1:]
                continue
            begin, tail = begins[left], tails[left]
            are_like = self.equals(begin, frame.head, has_digits=True)
            if frame.tail:
                end = ends[left] - len(frame.end)
                are_like &= self.equals(tail, frame.tail) & self.equals(end, frame.end)
                are_like &= end - tail >= len(frame.tail)
            begin += len(frame.head)
            for offset, byte in frame.excluded:
                are_like &= self.bytes[begin + offset] != byte
            contents[left], self.fits[left] = begin, are_like
            left = left[1:][~are_like[1:]]
        self.edges[0] = contents

    def _check_frames(self) -> None:
        """Drop lines with a gap of a wrong width, so that all fields of the remaining lines are inside their line."""
        for number, gap in enumerate(self.plan.gaps):
            begin, end = self._gap(number)
            width = sum(field.width for field in gap)
            varies = any(not field.width for field in gap)
            self.fits &= end - begin > width if varies else end - begin == width
        self._drop()

    def _drop(self) -> None:
        """Drop the lines that do not match the plan."""
        if not self.fits.all():
            self.lines, self.edges = self.lines[self.fits], [each[self.fits] for each in self.edges]
            self.fits = np.ones(len(self.lines), bool)

    def _read_gap(self, gap: tuple[Field, ...], begin: Numbers, end: Numbers) -> None:
        """Read the fields between two quotes. At most one of them has no fixed width."""
        width = end - begin - sum(field.width for field in gap)
        at = begin
        for field in gap:
            if field.kind == TEXT:
                self.fits &= self.equals(at, field.text)
            elif field.kind == TIME:
                self.time_at = at
            elif field.kind == STATUS:
                self._read_status(at)
            elif field.kind == WORD:
                self._lacks(at, width, field.text + self.word_lacks)
            else:
                self._read_number(field.kind, field.name, at + width, width)
            at = at + (field.width or width)

    def _lacks(self, at: Numbers, width: Numbers, bytes_: bytes) -> None:
        """Mark lines whose `width` bytes at `at` contain one of these bytes as not matching the plan."""
        lines = np.flatnonzero(self.fits & (width > 0))
        texts = texts_of(self.words, at[lines], width[lines])
        for byte in bytes_:
            self.fits[lines[hold(texts, byte)]] = False

    def _read_status(self, at: Numbers) -> None:
        """Read numbers of three digits."""
        number = np.zeros(len(at), np.int64)
        for place in range(3):
            digit = self.bytes[at + place] ^ 0x30
            self.fits &= digit < 10
            number = number * 10 + digit
        self.statuses = number

    def _read_number(self, kind: str, name: str, end: Numbers, width: Numbers, *, may_be_unknown: bool = False) -> None:
        number, fits = self.numbers_at(end, width, has_milliseconds=kind == SECONDS)
        if may_be_unknown:
            unknown = (width == 1) & (self.bytes[end - 1] == _DASH)
            number[unknown] = UNKNOWN
            fits |= unknown
        self.fits &= fits
        self.numbers[name] = number

    def _times(self) -> list[bytes]:
        """Return the oldest and the newest event time of each date and zone.

        A line without a valid time no longer fits. Consecutive lines mostly have the same time, so only changes are
        looked at.
        """
        lines = np.flatnonzero(self.fits)
        if self.time_at is None or not len(lines):
            return []
        at = self.time_at[lines]
        changes = np.ones(len(at), bool)
        changes[1:] = False
        for parts, offset in ((self.words, 0), (self.words, 8), (self.words, 16), (self.bytes, 24), (self.bytes, 25)):
            part = parts[at + offset]
            changes[1:] |= part[1:] != part[:-1]
        runs = np.flatnonzero(changes)
        texts = [self.data[place : place + 26] for place in at[runs].tolist()]
        good = {text for text in {*texts} if _TIME_TEXT.fullmatch(text)}
        if len(good) < len({*texts}):
            lengths = np.diff(runs, append=len(at))
            self.fits[lines] = np.repeat([text in good for text in texts], lengths)
        ordered = sorted(good)
        return [
            text
            for texts in (ordered, reversed(ordered))
            for text in {text[:11] + text[20:]: text for text in texts}.values()
        ]

    def _heads(self, is_compared: Callable[[bytes], bool]) -> tuple[list[Head], Numbers]:
        """Return the heads of regular requests, and the number of each line's head.

        Lines with another request no longer fit.
        """
        number = self.plan.cells.index("request")
        begin, end = self._cell(number)
        version = self.words[end - 8]
        known = np.zeros(len(version), bool)
        for text in _VERSIONS:
            known |= version == np.uint64(text)
        self.fits &= known & (end - begin > 10) & (self.bytes[end - 9] == _BLANK)
        end = end - 9
        data = self.bytes
        questions = np.append(offsets_of(len(data), lambda part: data[part] == _QUESTION), len(data))
        cut = np.minimum(questions[np.searchsorted(questions, begin)], end)
        self._lacks(cut, end - cut, self.query_lacks)
        self.fits &= cut > begin
        lines = np.flatnonzero(self.fits)
        if not len(lines):
            return [], lines
        texts = texts_of(self.words, begin[lines], (cut - begin)[lines])
        heads, of, is_same = grouped(texts, self.statuses[lines], is_compared)
        if is_same.all():
            return heads, of
        self.fits[lines] = is_same
        kept, of = np.unique(of[is_same], return_inverse=True)
        return [heads[number] for number in kept.tolist()], of


def read(
    plan: ColumnPlan,
    window: bytes,
    size: int,
    is_compared: Callable[[bytes], bool],
    reader: type[ColumnReader],
    frame_of: FrameOf | None,
) -> Iterator[Columns]:
    """Read the columns of the first `size` bytes of a window, whole lines, in parts. `is_compared` is
    `Routes.compares`.
    """
    begin, step, view = 0, size // (size // _PART + 1), memoryview(window)
    while begin < size:
        end = window.find(b"\n", begin + step, size) + 1 or size
        yield reader(plan, view[begin:end], frame_of).columns(is_compared)
        begin = end
