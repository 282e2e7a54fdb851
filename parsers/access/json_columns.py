r"""Read access lines by columns inside the records of Docker's json-file driver, as they are stored.

In a record, `{"log":"…\n","stream":"stdout","time":"…Z"}`, each quote of the line is `\"`. So the escapes split the
line as its quotes split the bare line, and nothing has to be unwrapped. A record with any other escape is left to the
usual way, except for the characters `<`, `>` and `&`, which Docker always escapes (moby
daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go). A test checks that both ways give the same result.
"""

import numpy as np

from parsers.access.block import BEFORE, BEHIND
from parsers.access.columns import ColumnReader
from parsers.access.words import Bytes, Flags, Numbers, count_of, offsets_of

#: The number of quotes of a record that are not part of its line.
_QUOTES = 12

_BLANK, _QUOTE, _BACKSLASH, _U = b' "\\u'
_HTML = np.array([int.from_bytes(escape, "little") for escape in (rb"\u0026", rb"\u003c", rb"\u003e")], np.uint64)
_SIX_BYTES = np.uint64((1 << 48) - 1)


class JsonColumnReader(ColumnReader):
    """Reads one block of records. The marks of a line are what is behind a backslash, and control characters.

    So a record with another control character than its newline, which is not valid, has too many marks.
    """

    escape, tail = 1, 2
    word_lacks, query_lacks = b"\\", b" "

    def _marks(self) -> tuple[Numbers, Bytes]:
        block, before = self.bytes[BEFORE:-BEHIND], self.bytes[BEFORE - 1 : -BEHIND - 1]
        marks = offsets_of(len(block), lambda part: (before[part] == _BACKSLASH) | (block[part] < _BLANK)) + BEFORE
        kinds = self.bytes[marks]
        escapes = np.flatnonzero(kinds == _U)
        html = escapes[np.isin(self.words[marks[escapes] - 1] & _SIX_BYTES, _HTML)]
        return (np.delete(marks, html), np.delete(kinds, html)) if len(html) else (marks, kinds)

    def _have_quotes(self, kinds: Bytes) -> Flags:
        are_quotes: Flags = (np.ascontiguousarray(kinds.T[: -self.tail]) == _QUOTE).all(axis=0)
        return are_quotes

    def _check_frames(self) -> None:
        super()._check_frames()
        if self._has_other_quotes():
            self.fits[:] = False
            self._drop()

    def _has_other_quotes(self) -> bool:
        """Return whether one of the lines has a quote without a backslash inside, so that its record is not valid."""
        is_other = np.ones(len(self.ends), bool)
        is_other[self.lines] = False
        spans = zip(self.begins[is_other].tolist(), self.ends[is_other].tolist(), strict=True)
        others = sum(self.data.count(b'"', begin, end) for begin, end in spans)
        expected = len(self.lines) * (_QUOTES + 2 * len(self.plan.cells))
        return count_of(len(self.bytes), lambda part: self.bytes[part] == _QUOTE) - others != expected
