"""The generations of one path that are not open: missing ones, whose file must be found again, and those done.

Ancient files, rotated before the path was first seen, count as done. What the ledger must be told of all this goes
into the next window.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote_to_bytes

from msgspec import structs

from exporter.files.generation import Generation
from exporter.files.likeness import fits, head_fits
from exporter.files.opened import Identity, Opened, at_end, identity
from exporter.files.search import Found, Known, Search
from exporter.window import MARKER, News, Position, Window

_log = logging.getLogger(__name__)

#: Generations remembered after they were given up, besides those whose files still lie there.
_REMEMBERED = 64


def encoded(path: str) -> str:
    """A path as positions hold it: whatever its bytes are."""
    return quote(os.fsencode(path))


def decoded(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(path))


class Lineage:
    """`history`: the path has named a file before, in this life or an earlier one."""

    def __init__(self, path: str, log_patterns: tuple[str, ...], positions: Mapping[str, Position]) -> None:
        self.missing = {key: p for key, p in positions.items() if not p.done}
        self.history = bool(positions)
        self._path = path
        self._done = {key: p for key, p in positions.items() if p.done}
        self._restored = frozenset(self.missing)
        self._search = Search(path, log_patterns, positions.values())
        self._news: dict[str, News] = {}
        self._untold: dict[str, Position] = {}
        self._leaving: dict[str, Position] = {}

    @property
    def waits(self) -> bool:
        """Something older than what was not announced may turn up."""
        return self._search.waits

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.missing, *self._done, *self._leaving)

    @property
    def missing_bytes(self) -> int:
        return sum(p.unread for p in self.missing.values())

    def ancient(self, modified: int) -> Iterator[Position]:
        """What stands under rotated names when the path is first looked at; `modified` is the mtime of its file."""
        return self._search.ancient(modified)

    def unread(self, file: Opened) -> Position:
        """The position of a generation that nobody knows, its path and number left open."""
        return self._search.unread(file)

    def departed(self, now: float, previous: Iterable[Position], renamed: bool = True) -> None:
        """The path has moved on, or not `renamed` its file was emptied: further generations may have come and gone
        before anybody looked (B17).
        """
        self._search.for_newer(now, max((p.modified for p in previous), default=0), renamed)

    def resume(self, file: Opened) -> tuple[str, Position] | None:
        """The position at which to go on in the file that the path names; "" for a key that must be new. It stays among
        those missing, or given up, until it is `reopened`.
        """
        inode = file.stat().st_ino
        for key, position in [*self.missing.items(), *self._done.items()]:
            if position.inode != inode or position.compressed:
                continue
            if not position.marker_length and file.size() < position.size:
                continue  # another file under its inode, or emptied
            if fits(file, position):
                return key, position
            if key in self._restored and self._cut_short(file, position):
                self._leave(key, self.missing.pop(key))
                return "", structs.replace(at_end(file, position, file.size()), skipping=False)
        return next((known for known in self.missing.items() if self._moved(file, *known)), None)

    def has_read(self, file: Opened) -> bool:
        """Whether it is one of those given up or missing; an inode alone may be in use again (B27)."""
        inode, known = file.stat().st_ino, [*self.missing.values(), *self._done.values()]
        return any(p.inode == inode and p.marker_length and fits(file, p) for p in known)

    def reopened(self, key: str) -> None:
        """It is read again."""
        self.missing.pop(key, None)
        self._done.pop(key, None)

    def arrived(self, key: str, file: Opened) -> bool:
        """The path has come to name a file that `resume` does not know, after others. Whether it is another one."""
        inode = file.stat().st_ino
        truncated = any(p.inode == inode and not p.compressed for p in self.missing.values())
        self._count(key, rotations=not truncated, truncations=truncated)
        return not truncated

    def moved_on(self, key: str, now: float, previous: Iterable[Position]) -> None:
        """The path names another file, which cannot be looked into."""
        self._count(key, rotations=1)
        self.departed(now, previous)

    def appeared(self, generation: Generation) -> None:
        """One that nobody knew was found."""
        self._count(generation.key, rotations=self._search.renamed, truncations=not self._search.renamed)

    def mislaid(self, key: str, position: Position, now: float) -> None:
        """Lost from sight: what was not read may still be found."""
        self.missing[key] = position
        self._search.for_missing(now)

    def truncated(self, key: str, position: Position, now: float, followed_by: str) -> None:
        """B19-B24: what was not read may stand in the copy that the rotator made. `followed_by` stands there now."""
        self._count(followed_by, truncations=1)
        self.mislaid(key, position, now)

    def cut(self, key: str, size: int) -> None:
        """So many unread bytes were taken off the end of a file that stays as it was otherwise."""
        self._count(key, truncations=1, lost_bytes=size)

    def finish(self, key: str, position: Position, shortfall: int = 0) -> None:
        """Given up with all its bytes read, but for so many that it lost while nobody looked; remembered as long as it
        lies there, so that nothing reads it again. The latest may have been packed, or copied.
        """
        if shortfall:
            self._count(key, lost_bytes=shortfall)
        self._done[key] = structs.replace(position, done=True)

    def remember(self, key: str, position: Position) -> None:
        """Given up, of which the ledger must be told."""
        self._untold[key] = structs.replace(position, done=True)
        self.finish(key, position)

    def unreadable(self, key: str, position: Position, now: float) -> None:
        """D42: the path names a file that may not be opened; it may be moved on before it may."""
        self._untold[key] = position
        self.mislaid(key, position, now)

    def still_unreadable(self, key: str, found: os.stat_result) -> None:
        """It may grow; of one that was read before, only its bytes tell whether it did."""
        position = self.missing[key]
        self._search.renamed = False
        if not position.marker_length:
            self.missing[key] = structs.replace(position, size=found.st_size, modified=found.st_mtime_ns)

    def take_over(self, held: Identity) -> tuple[str, Position] | None:
        """Hands a missing generation to another path that names its file now."""
        for key, position in self.missing.items():
            if (position.device, position.inode) == held:
                return key, self.missing.pop(key)
        return None

    def search(self, now: float, named: bool, opened: list[Generation]) -> Iterator[Found]:
        """Files found again, the oldest first, each with its key, "" for a generation not known before.

        `named`: the path names something that can be read. The caller adds each to `opened`, and says that it is
        `reopened`, before it asks for the next. What is not found in time is lost.
        """
        known = Known(self.missing, self._done.values(), opened)
        yield from self._search.find(now, named, known)
        for key in self._search.given_up(now, self.missing) if self.missing else ():
            self._lose(key, self.missing.pop(key))
        for key in [*self._done][:-_REMEMBERED]:
            if not self._search.lies_there((self._done[key].device, self._done[key].inode)):
                self._leave(key, self._done.pop(key))

    def tell(self, window: Window) -> Window:
        """The window with the news of its generation: together they are entered once, whenever a crash comes."""
        news = self._news.get(window.file, News())
        if news == News() and not self._leaving:
            return window
        return structs.replace(window, **structs.asdict(structs.replace(news, forget=tuple(self._leaving))))

    def told(self, window: Window) -> None:
        """The window's news are in the ledger."""
        self._news.pop(window.file, None)
        self._untold.pop(window.file, None)
        for key in window.forget:
            self._leaving.pop(key, None)

    def news(self, source: str, opened: Iterable[Generation]) -> Window | None:
        """A window without bytes, for news that no bytes will carry; a generation's first are that it is there."""
        for generation in opened:
            if generation.key in self._news or not generation.announced:
                return self.tell(Window(source, generation.key, generation.position))
        if self.waits:
            return None
        for key, position in (*self._untold.items(), *self._leaving.items()):
            return self.tell(Window(source, key, position, closes=position.done))
        for key, position in (*self.missing.items(), *self._done.items()) if self._news else ():
            if key in self._news:
                return self.tell(Window(source, key, position, closes=position.done))
        return None

    def forget(self) -> None:
        """Nothing of this path is needed any more."""
        self._leaving |= self.missing | self._done
        self.missing, self._done, self._untold = {}, {}, {}

    def _lose(self, key: str, position: Position) -> None:
        blind = key in self._restored or position.unread
        _log.log(
            logging.WARNING if blind else logging.INFO,
            "not found again, nor a copy of it: path=%s unread_bytes=%d; lines written to it while nobody looked are "
            "not counted (were they moved to another folder, name it in log_patterns)",
            self._path,
            position.unread,
        )
        self._count(key, lost_bytes=position.unread)
        self.remember(key, position)

    def _cut_short(self, file: Opened, position: Position) -> bool:
        """After a power loss: the same file, shorter than what was durable here, and nowhere a copy of it all."""
        size = file.size()
        same = 0 < position.head_length <= size < position.offset and head_fits(file, position)
        return same and not self._search.copied(position, identity(file.stat()))

    def _moved(self, file: Opened, key: str, position: Position) -> bool:
        """While we were down: all that was read, under another inode, and nowhere else; on another disk or machine."""
        read = key in self._restored and position.marker_length == MARKER and not position.compressed
        return read and fits(file, position) and not self._search.copied(position, identity(file.stat()))

    def _leave(self, key: str, position: Position) -> None:
        self._untold.pop(key, None)
        self._leaving[key] = position

    def _count(self, key: str, rotations: int = 0, truncations: int = 0, lost_bytes: int = 0) -> None:
        """To be told with the generation `key`."""
        news = self._news.get(key, News())
        self._news[key] = News(news.rotations + rotations, news.truncations + truncations, news.lost_bytes + lost_bytes)
