"""One generation of a log: an open file, how far it has been posted, and the next window of it."""

import os

from msgspec import structs

from exporter.files.likeness import head_fits
from exporter.files.opened import Identity, Opened, PackedError
from exporter.files.readable import is_gzip
from exporter.window import MARKER, Position, Window, digest

#: One C call holds the interpreter's lock, so this is also the longest wait that parsing adds to a scrape.
LIVE_WINDOW = 1 << 18

#: Seconds after which a file that looks as before is as before: time stamps are as coarse as 2 s (FAT).
_SETTLED = 3.0


class Truncated(Exception):  # noqa: N818  an event, not an error
    """The bytes before the position are not those that were read, or the file has shrunk to less than was known."""


class Generation:
    """`grown_at` is the monotonic time at which bytes were last seen to be added, `changed_at` that of any change;
    `drained`: read to its end at least once; `resting`: there was nothing to give when last asked. `announced`: its
    position is in the ledger.
    """

    def __init__(self, file_key: str, file: Opened, position: Position, line_length: int, now: float) -> None:
        found = file.stat()
        self.key = file_key
        self.position = structs.replace(
            position,
            device=found.st_dev,
            inode=found.st_ino,
            compressed=file.compressed,
            size=file.size(),
            done=False,
        )
        self.grown_at = self.changed_at = now
        self.drained = self.resting = self.closing = self.closed = self.announced = False
        self._file = file
        self._expected = position.size
        self._proved = max(position.size, position.offset)
        self._line_length = line_length
        self._smallest = self._limit = min(LIVE_WINDOW, line_length)
        self._fruitless: tuple[int, int, bool] | None = None
        self._looks: tuple[int, int, int] | None = _looks(found)

    @property
    def identity(self) -> Identity:
        return self.position.device, self.position.inode

    @property
    def links(self) -> int:
        """Names that the file still has; one where nobody can tell: trouble is not a deletion (D43)."""
        try:
            return self._file.stat().st_nlink
        except OSError:
            return 1

    @property
    def file(self) -> Opened:
        return self._file

    @property
    def last_seen(self) -> Position:
        """With the size at which its bytes were last seen to be there: a larger one may be of what has replaced them.
        Where nothing was read, no byte can tell.
        """
        return structs.replace(self.position, size=self._proved) if self.position.offset else self.position

    @property
    def shortfall(self) -> int:
        """Bytes that were known when the file was lost from sight and that the one found again does not have."""
        return max(0, self._expected - self.position.size)

    def look(self, now: float, at_path: os.stat_result | None) -> int:
        """Takes note of the file's present size; `at_path` is what the path's file looks like if that is this one.
        Gives the number of unread bytes that were cut off its end.

        Raises OSError, and Truncated where nothing tells whether what is left are the bytes that were known.
        """
        found = at_path or self._file.stat()
        looks = _looks(found)
        if looks == self._looks:
            return 0
        size, known = self._file.size() if self._file.compressed else found.st_size, self.position
        self._looks, self.changed_at, self.resting = looks, now, False
        if size > known.size:
            self.grown_at = now
        elif size < known.size and not known.offset:
            raise Truncated
        self.position = structs.replace(known, size=size)
        return known.size - size if known.offset <= size < known.size else 0

    def date(self, modified: int) -> None:
        """All that is older than this mtime (nanoseconds) is in the ledger."""
        if modified != self.position.modified:
            self.position = structs.replace(self.position, modified=modified)

    def quiet(self, now: float) -> bool:
        """Nothing to give, and nothing has changed for so long that it need not be read to know."""
        return self.resting and self.drained and not self.closing and now - self.changed_at > _SETTLED

    def replace_file(self, file: Opened) -> None:
        """Goes on in a file opened anew, after an error such as ESTALE (D43)."""
        self._file.close()
        self._file, self._looks = file, None

    def window(self, source: str) -> Window | None:
        """The next window, None where there is nothing new. Raises Truncated, OSError."""
        window = self._next(source)
        self.resting = window is None
        return window

    def _next(self, source: str) -> Window | None:
        position = self.position
        if position.size < position.offset:
            raise Truncated
        while True:
            data = self._file.read(position.offset, min(self._limit, position.unread))
            if len(data) < self._limit or self._limit == self._line_length or not self._stuck(data):
                break
            self._limit = min(4 * self._limit, self._line_length)
        if not position.offset and not position.compressed and is_gzip(data):
            raise PackedError  # it was empty when it was opened
        # After the data: a file truncated and filled anew meanwhile is found out.
        reach = min(MARKER, position.offset)
        before = self._file.read(position.offset - reach, reach)
        if digest(before) != position.marker or not (reach < MARKER or head_fits(self._file, position)):
            raise Truncated
        self._proved = position.size
        if not position.offset and self._file.size() < position.size:
            raise Truncated  # there is no byte before it to tell
        whole = len(data) >= position.unread
        self.drained |= whole
        final = self.closing and whole
        verdict, length = self._verdict(before, data, final)
        if final and verdict == "waiting":
            verdict, length = ("unterminated", len(data)) if data else ("", 0)
        elif verdict == "waiting":
            return None
        return Window(
            source=source,
            file=self.key,
            position=position,
            data=data[:length],
            before=before,
            verdict=verdict,
            final=final and not verdict,
            closes=final and not data,
        )

    def posted(self, window: Window, consumed: int) -> None:
        """What the ledger has entered of the window last given."""
        if consumed:
            known = self.position
            self.position = structs.replace(window.after(consumed), size=known.size, modified=known.modified)
            self._limit, self._fruitless = self._smallest, None
        elif window.data:
            self._fruitless = len(window.data), hash(window.data), window.final
        self.announced = True
        self.closed = window.closes

    def close(self) -> None:
        self._file.close()

    def _stuck(self, data: bytes) -> bool:
        """Nothing can be consumed of this window as it is."""
        return b"\n" not in data or self._seen(data)

    def _seen(self, data: bytes, final: bool = False) -> bool:
        """The parser was given just these bytes, as what they are now, and took none of them."""
        return self._fruitless == (len(data), hash(data), final)

    def _verdict(self, before: bytes, data: bytes, final: bool) -> tuple[str, int]:
        """What the first bytes of a window are, and how many."""
        line = data.find(b"\n") + 1
        if self.position.skipping and data:
            return "skipped", line or len(data)
        # Only what begins a file: anywhere else NULs are part of a line (B22, A8).
        if data[:1] == b"\0" and not before.strip(b"\0"):
            return "hole", len(data) - len(data.lstrip(b"\0"))
        whole_lines = data.rfind(b"\n") + 1 if self.closing else len(data)
        if not line:
            return ("too_long" if len(data) >= self._line_length else "waiting"), len(data)
        if self._seen(data[:whole_lines], final):
            stuck = final or len(data) >= self._line_length
            return ("too_long", line) if stuck else ("waiting", 0)
        return "", whole_lines


def _looks(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
