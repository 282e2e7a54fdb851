"""One generation of a log: an open file, how far it has been posted, and the next window of it."""

from msgspec import structs

from exporter.opened import Identity, Opened
from exporter.window import MARKER, Position, Window, digest

#: One C call holds the interpreter's lock, so this is also the longest wait that parsing adds to a scrape.
LIVE_WINDOW = 1 << 18


class Truncated(Exception):  # noqa: N818  an event, not an error
    """The bytes before the position are not those that were read."""


class Generation:
    """`grown_at` is the monotonic time at which bytes were last seen to be added; `drained`: read to its end
    at least once. `announced`: its position is in the ledger.
    """

    def __init__(self, file_key: str, file: Opened, position: Position, line_length: int, now: float) -> None:
        found = file.stat()
        self.key = file_key
        self.position = structs.replace(
            position, device=found.st_dev, inode=found.st_ino, compressed=file.compressed, done=False
        )
        self.grown_at = now
        self.drained = self.closing = self.closed = self.announced = False
        self._file = file
        self._line_length = line_length
        self._smallest = self._limit = min(LIVE_WINDOW, line_length)
        self._fruitless: tuple[int, int] | None = None

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

    def look(self, now: float, at_path: bool) -> None:
        """Takes note of the file's present size, and of its mtime while the path names it. Raises OSError."""
        size = self._file.size()
        if size != self.position.size:
            self.grown_at = now
            modified = self._file.stat().st_mtime_ns if at_path else self.position.modified
            self.position = structs.replace(self.position, size=size, modified=modified)

    def replace_file(self, file: Opened) -> None:
        """Goes on in a file opened anew, after an error such as ESTALE (D43)."""
        self._file.close()
        self._file = file

    def window(self, source: str) -> Window | None:
        """The next window, None where there is nothing new. Raises Truncated, OSError."""
        position = self.position
        reach = min(MARKER, position.offset)
        while True:
            block = self._file.read(position.offset - reach, reach + min(self._limit, position.unread))
            before, data = block[:reach], block[reach:]
            if position.size < position.offset or digest(before) != position.marker:
                raise Truncated
            if len(data) < self._limit or self._limit == self._line_length or not self._stuck(data):
                break
            self._limit = min(4 * self._limit, self._line_length)
        whole = len(data) >= position.unread
        self.drained |= whole
        verdict, length = self._verdict(before, data)
        final = self.closing and whole
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
            self._fruitless = len(window.data), hash(window.data)
        self.announced = True
        self.closed = window.closes

    def close(self) -> None:
        self._file.close()

    def _stuck(self, data: bytes) -> bool:
        """Nothing can be consumed of this window as it is."""
        return b"\n" not in data or self._seen(data)

    def _seen(self, data: bytes) -> bool:
        """The parser was given just these bytes and took none of them."""
        return self._fruitless is not None and self._fruitless == (len(data), hash(data))

    def _verdict(self, before: bytes, data: bytes) -> tuple[str, int]:
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
        if self._seen(data[:whole_lines]):
            stuck = self.closing or len(data) >= self._line_length
            return ("too_long", line) if stuck else ("waiting", 0)
        return "", whole_lines
