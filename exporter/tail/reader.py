"""Reading one open file: its next window, and whether it still is the file that was read.

A file was *truncated* when its bytes are not those that were posted any more: it is smaller than it was known to be,
its beginning or the bytes before the position have changed. Comparing them after each read finds a file that was
emptied and filled again, even beyond the position, and even between two system calls of one look.
"""

import os

from msgspec import Struct, structs

from exporter.tail.encoding import UTF_8_BOM
from exporter.tail.fingerprint import head_matches
from exporter.tail.open_file import OpenFile, PackedError
from exporter.tail.permissions import is_gzip
from exporter.tail.position import FINGERPRINT, Position, Window

#: One C call holds the interpreter's lock, so this is also the longest wait that parsing adds to a scrape.
LIVE_WINDOW = 1 << 18

#: Seconds after which a file that looks unchanged is unchanged: time stamps are as coarse as 2 s (FAT).
SETTLED = 3.0


#: Bytes that a parser has refused, and seconds after which it gets them again with little added: a record in pieces
#: would be parsed again for each piece that is written.
_REFUSED = 1 << 16
_RETRY = 1.0


class Lengths(Struct, frozen=True):
    """The longest line in bytes, and whether a record may have several of them (`Parser.joined`)."""

    line: int = 1 << 20
    joined: bool = False

    @property
    def window(self) -> int:
        """The largest window in bytes. At least half of it is consumed, unless it holds no newline."""
        return 2 * self.line if self.joined else self.line


class Truncated(Exception):  # noqa: N818  an event, not an error
    """The bytes before the position are not those that were read, or the file has shrunk to less than was known."""


class Piece(Struct, frozen=True):
    """What a window is made of."""

    data: bytes
    before: bytes
    kind: str
    final: bool
    closes: bool


class Reader:
    """`grown_at` is the monotonic time at which the file was last seen to have grown, `changed_at` that of any change.

    `reached_eof`: read to its end at least once. `idle`: there was nothing to read when last asked. `closing`: what is
    left is read for the last time. `verified_size` is the size at which the bytes before the position were last found
    unchanged: a larger size may already be that of other content.
    """

    def __init__(self, file: OpenFile, found: os.stat_result, position: Position, lengths: Lengths, now: float) -> None:
        self.file = file
        self.grown_at = self.changed_at = now
        self.reached_eof = self.idle = self.closing = False
        self.verified_size = max(position.size, position.offset)
        self.looks: tuple[int, ...] | None = None if file.packed else looks_of(found)
        self._expected = position.size
        self._lengths = lengths
        self._smallest = self._limit = min(LIVE_WINDOW, lengths.window)
        self._not_consumed: tuple[int, int, bool] | None = None
        self._refused_at = self._observed_at = now
        self._is_sized = not file.packed

    @property
    def links(self) -> int:
        """Names that the file still has; 1 where nobody can say: an error is not a deletion (D43)."""
        try:
            return self.file.stat().st_nlink
        except OSError:
            return 1

    def shortfall(self, position: Position) -> int:
        """Bytes that were known when the file was lost from sight, and that the file found again does not have."""
        return max(0, self._expected - position.size)

    def last_seen(self, position: Position) -> Position:
        """The position with the verified size. Before the first read no byte can tell."""
        return structs.replace(position, size=self.verified_size) if position.offset else position

    def observe(self, position: Position, now: float, at_path: os.stat_result | None) -> tuple[Position, int]:
        """The position with the present size, and the number of unread bytes that were cut off the file's end.

        `at_path` is the result of stat on the path, if that is this file. Raises FILE_ERRORS, Unpacking, and Truncated
        where nothing says whether the bytes that are left are those that were known.
        """
        self._observed_at = now
        found = at_path or self.file.stat()
        looks = looks_of(found)
        if looks == self.looks:
            return position, 0
        size = self.file.size() if self.file.packed else found.st_size
        self.looks, self.changed_at, self.idle = looks, now, False
        if not self._is_sized:
            self._is_sized = True
            return structs.replace(position, size=size), 0
        if size > position.size:
            self.grown_at = now
        elif size < position.size and not position.offset:
            raise Truncated
        cut = position.size - size if position.offset <= size < position.size else 0
        return structs.replace(position, size=size), cut

    def is_quiet(self, now: float) -> bool:
        """Nothing to read, and unchanged for so long that the file need not be read to know."""
        return self.idle and self.reached_eof and not self.closing and now - self.changed_at > SETTLED

    def replace_file(self, file: OpenFile) -> None:
        """Goes on in a file opened anew, after an error such as ESTALE (D43)."""
        self.file.close()
        self.file, self.looks = file, None

    def read(self, position: Position) -> Piece | None:
        """The next window's bytes, None where there is nothing new. Raises Truncated, FILE_ERRORS, Unpacking."""
        piece = self._read(position)
        self.idle = piece is None
        return piece

    def acknowledge(self, window: Window, consumed: int) -> None:
        """The ledger has posted so many bytes of the window that was read last."""
        if consumed:
            is_little = self._lengths.joined and 2 * consumed < len(window.data)
            self._limit = min(4 * self._limit, self._lengths.window) if is_little else self._smallest
            self._not_consumed = None
        elif window.data:
            self._not_consumed = len(window.data), hash(window.data), window.final
            self._refused_at = self._observed_at

    def _read(self, position: Position) -> Piece | None:
        if position.size < position.offset:
            raise Truncated
        while True:
            data = self.file.read(position.offset, min(self._limit, position.unread))
            if len(data) < self._limit or self._limit == self._lengths.window or not self._is_stuck(data):
                break
            self._limit = min(4 * self._limit, self._lengths.window)
        if not position.offset and not self.file.packed and is_gzip(data):
            raise PackedError  # it was empty when it was opened
        before = self._verified_before(position)
        whole = len(data) >= position.unread
        self.reached_eof |= whole
        final = self.closing and whole
        kind, length = self._kind(position, before, data, final)
        if final and kind == "waiting":
            kind, length = ("unterminated", len(data)) if data else ("", 0)
        elif kind == "waiting":
            return None
        return Piece(data[:length], before, kind, final and not kind, final and not data)

    def _verified_before(self, position: Position) -> bytes:
        """The bytes before the offset. Read after the data: a file truncated and filled meanwhile is noticed."""
        reach = min(FINGERPRINT, position.offset)
        before = self.file.read(position.offset - reach, reach)
        if not position.tail.matches(before) or not (reach < FINGERPRINT or head_matches(self.file, position)):
            raise Truncated
        self.verified_size = position.size
        if not position.offset and self.file.size() < position.size:
            raise Truncated  # there is no byte before the offset to compare
        return before

    def _is_stuck(self, data: bytes) -> bool:
        """Nothing can be consumed of this window as it is."""
        return b"\n" not in data or self._was_refused(data)

    def _was_refused(self, data: bytes, final: bool = False) -> bool:
        """The parser has already consumed nothing of this window."""
        return self._not_consumed == (len(data), hash(data), final)

    def _kind(self, position: Position, before: bytes, data: bytes, final: bool) -> tuple[str, int]:
        """The kind of the first bytes of a window, and their number."""
        line = data.find(b"\n") + 1
        if position.skip and data:
            return "skipped", line or len(data)
        if not position.offset and data.startswith(UTF_8_BOM):
            return "hole", len(UTF_8_BOM)
        # Only at the beginning of a file: anywhere else NULs are part of a line (B22, A8).
        if data[:1] == b"\0" and not before.strip(b"\0"):
            return "hole", len(data) - len(data.lstrip(b"\0"))
        whole_lines = data.rfind(b"\n") + 1 if self.closing else len(data)
        if not line:
            return ("too_long" if len(data) >= self._lengths.line else "waiting"), len(data)
        if self._was_refused(data[:whole_lines], final):
            stuck = final or len(data) >= self._lengths.window
            return ("too_long", line) if stuck else ("waiting", 0)
        return ("waiting", 0) if self._is_too_soon(len(data)) else ("", whole_lines)

    def _is_too_soon(self, size: int) -> bool:
        """Little was added to what the parser has refused a moment ago. The next poll tries again."""
        refused = self._not_consumed[0] if self._not_consumed is not None else 0
        if self.closing or refused < _REFUSED or size >= self._lengths.window:
            return False
        return 4 * size < 5 * refused and self._observed_at - self._refused_at < _RETRY


def looks_of(found: os.stat_result) -> tuple[int, ...]:
    """What changes whenever a file does, except within one tick of its time stamps."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
