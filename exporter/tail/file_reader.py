"""Reads the next window of one open file, and checks that the file still has the bytes that were read before.

A file was *truncated* if it no longer has the bytes that were posted. Then it is smaller than before, or its beginning
or the bytes before the position have changed. They are compared after each read. This also detects a file that was
emptied and filled again beyond the position, even between two system calls of one read.
"""

import os

from msgspec import Struct, structs

from exporter.process.special_files import stat_signature
from exporter.tail.encoding import UTF_8_BOM
from exporter.tail.fingerprint import head_matches
from exporter.tail.open_file import SETTLED, OpenFile, PackedError
from exporter.tail.permissions import is_gzip
from exporter.tail.position import FINGERPRINT, Position, Window

#: The usual window in bytes. Parsing one window may hold the GIL in one C call, so the size also limits how long a
#: scrape waits for it.
LIVE_WINDOW = 1 << 18

#: With this many unread bytes or more, a window is as large as possible: a line of a large window costs a third less.
_BACKLOG = 1 << 20

#: When the parser has consumed nothing of this many bytes, it gets them again after this many seconds, or once they
#: have grown by a quarter. Otherwise a long record would be parsed again for each piece that is written.
_REFUSED = 1 << 16
_RETRY = 1.0


class Lengths(Struct, frozen=True):
    """The longest line in bytes, and whether a record may have several lines (`Parser.joined`)."""

    line: int = 1 << 20
    joined: bool = False

    @property
    def window(self) -> int:
        """Return the largest window in bytes. At least half of it is consumed, unless it has no newline."""
        return 2 * self.line if self.joined else self.line


class Truncated(Exception):  # noqa: N818  an event, not an error
    """The bytes before the position have changed, or the file is smaller than before."""


class FileReader:
    """Reads one open file.

    `grown_at` is the monotonic time in seconds of the last observed growth, `changed_at` that of the last observed
    change. `reached_eof`: the file was read to its end at least once. `idle`: the last read found nothing new.
    `closing`: the rest of the file is read for the last time. `verified_size` is the size at which the bytes before the
    position were last found unchanged; a larger size may belong to other content. `expected` is the size before the
    file was opened again.
    """

    def __init__(self, file: OpenFile, found: os.stat_result, position: Position, lengths: Lengths, now: float) -> None:
        self.file = file
        self.grown_at = self.changed_at = now
        self.reached_eof = self.idle = self.closing = False
        self.verified_size = max(position.size, position.offset)
        self.signature: tuple[int, ...] | None = None if file.packed else stat_signature(found)
        self.expected = position.size
        self._lengths = lengths
        self._smallest = self._limit = min(LIVE_WINDOW, lengths.window)
        self._not_consumed: tuple[int, int, bool] | None = None
        self._refused_at = self._observed_at = now
        self._is_sized = not file.packed

    @property
    def links(self) -> int:
        """Return how many names the file still has; 1 after an error, because an error is no deletion (D43)."""
        try:
            return self.file.stat().st_nlink
        except OSError:
            return 1

    def observe(self, position: Position, now: float, at_path: os.stat_result | None) -> tuple[Position, int]:
        """Return the position with the present size, and how many unread bytes were cut off the end of the file.

        `at_path` is the stat result of the path, if the path names this file. Raise FILE_ERRORS, Unpacking, and
        Truncated if the file is smaller and no byte was read yet that could verify its content.
        """
        self._observed_at = now
        found = at_path or self.file.stat()
        signature = stat_signature(found)
        if signature == self.signature:
            return position, 0
        size = self.file.size() if self.file.packed else found.st_size
        self.signature, self.changed_at, self.idle = signature, now, False
        if not self._is_sized:
            self._is_sized = True
            return structs.replace(position, size=size), 0
        if size > position.size:
            self.grown_at = now
        elif size < position.size and not position.offset:
            raise Truncated
        cut = position.size - size if position.offset <= size < position.size else 0
        return structs.replace(position, size=size), cut

    def has_changed(self) -> bool:
        return stat_signature(self.file.stat()) != self.signature

    def is_quiet(self, now: float) -> bool:
        """Return whether the file has nothing to read and its time stamps have been unchanged for SETTLED seconds."""
        return self.idle and self.reached_eof and not self.closing and now - self.changed_at > SETTLED

    def read(self, source: str, key: str, position: Position) -> Window | None:
        """Return the next window of the generation `key`, None if there is nothing new.

        Raise Truncated, FILE_ERRORS, Unpacking.
        """
        window = self._read(source, key, position)
        self.idle = window is None
        return window

    def acknowledge(self, window: Window, consumed: int) -> None:
        """Adapt the window size: the ledger has posted `consumed` bytes of the window that was read last."""
        if consumed:
            is_little = self._lengths.joined and 2 * consumed < len(window.data)
            self._limit = min(4 * self._limit, self._lengths.window) if is_little else self._smallest
            self._not_consumed = None
        elif window.data:
            self._not_consumed = len(window.data), hash(window.data), window.final
            self._refused_at = self._observed_at

    def _read(self, source: str, key: str, position: Position) -> Window | None:
        if position.size < position.offset:
            raise Truncated
        largest = self._lengths.window
        limit = largest if position.unread >= _BACKLOG else self._limit
        while True:
            data = self.file.read(position.offset, min(limit, position.unread))
            if len(data) < limit or limit == largest or (b"\n" in data and not self._was_refused(data)):
                break
            self._limit = limit = min(4 * limit, largest)  # the parser needs more bytes to consume any
        if not position.offset and not self.file.packed and is_gzip(data):
            raise PackedError  # the file was empty when it was opened
        before = self._verified_before(position)
        whole = len(data) >= position.unread
        self.reached_eof |= whole
        final = self.closing and whole
        kind, length = self._kind(position, before, data, final)
        if final and kind == "waiting":
            kind, length = ("unterminated", len(data)) if data else ("", 0)
        elif kind == "waiting":
            return None
        return Window(source, key, position, data[:length], before, kind, final and not kind, final and not data)

    def _verified_before(self, position: Position) -> bytes:
        """Return the bytes before the offset. Raise Truncated if they have changed.

        They are read after the data, so that a file truncated and filled in between is detected.
        """
        reach = min(FINGERPRINT, position.offset)
        before = self.file.read(position.offset - reach, reach)
        if not position.tail.matches(before) or not (reach < FINGERPRINT or head_matches(self.file, position)):
            raise Truncated
        self.verified_size = position.size
        if not position.offset and self.file.size() < position.size:
            raise Truncated  # before the first read, there is no byte to compare
        return before

    def _was_refused(self, data: bytes, final: bool = False) -> bool:
        """Return whether the parser got this window before and consumed nothing."""
        if self._not_consumed is None:  # the hash of a large window takes a twentieth of the time of its lines
            return False
        return self._not_consumed == (len(data), hash(data), final)

    def _kind(self, position: Position, before: bytes, data: bytes, final: bool) -> tuple[str, int]:
        """Return the kind of the next window, and its length in bytes."""
        line = data.find(b"\n") + 1
        if position.skip and data:
            return "skipped", line or len(data)
        if not position.offset and data.startswith(UTF_8_BOM):
            return "hole", len(UTF_8_BOM)
        # Only at the beginning of a file; elsewhere NULs are part of a line (B22, A8).
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
        """Return whether the window has grown too little since the parser refused it. The next poll tries again."""
        refused = self._not_consumed[0] if self._not_consumed is not None else 0
        if self.closing or refused < _REFUSED or size >= self._lengths.window:
            return False
        return 4 * size < 5 * refused and self._observed_at - self._refused_at < _RETRY
