"""The generations of one path that are not open: missing ones, whose file must be found again, and those done.

Found by inode where the file was only renamed, by content where it was copied or compressed. Ancient files,
rotated before the path was first seen, count as done: they are never taken for anything.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from urllib.parse import quote, unquote_to_bytes

from msgspec import structs

from exporter.generation import Generation
from exporter.opened import GZIP_ERRORS, Identity, Opened, at_end, fits, head_fits, identity, open_log
from exporter.siblings import Sibling, rotated, siblings
from exporter.window import MARKER, News, Position, Window

_log = logging.getLogger(__name__)

#: Seconds for which a missing generation is searched: a copy or a `.gz` may still be in the making.
SEARCH = 5.0

#: The same while the path names nothing: the whole folder may only be unmounted (D43).
_AWAY = 86400.0

#: Seconds between two looks into the folder where there is no hurry.
_PAUSE = 10.0

#: Generations remembered after they were given up.
_REMEMBERED = 8

#: Some tools restore an mtime in whole seconds.
_SECOND = 1_000_000_000

#: Seconds after which a file that does not grow is no copy in the making.
_STILL = 2.0

Found = tuple[str, Opened, Position]


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
        self._path, self._log_patterns = path, log_patterns
        self._done = {key: p for key, p in positions.items() if p.done}
        self._restored = frozenset(self.missing)
        self._newest = max((p.modified for p in positions.values()), default=0)
        self._unlooked = self._renamed = self.history
        self._newer_until = self._missing_until = self._next_look = 0.0
        self._away_since: float | None = None
        self._small: dict[tuple[Identity, int], float] = {}
        self._denied: set[Identity] = set()
        self._held_up = False
        self._packed_copies: set[tuple[Identity, int]] = set()
        self._news = News()
        self._untold: dict[str, Position] = {}
        self._leaving: dict[str, Position] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.missing, *self._done, *self._leaving)

    @property
    def missing_bytes(self) -> int:
        return sum(p.unread for p in self.missing.values())

    def ancient(self, modified: int) -> Iterator[Position]:
        """What stands under rotated names when the path is first looked at; `modified` is the mtime of its file.

        Only files about as young as that one: older ones are told by their mtime (B26).
        """
        present = self._siblings()
        self._newest = max([modified, *(s.modified for s in present)])
        for old in present[-_REMEMBERED:]:
            if old.modified // _SECOND >= self._newest // _SECOND - 1:
                try:
                    with closing(open_log(old.path)) as file:
                        yield at_end(file, unread_of(file), file.size())
                except (OSError, *GZIP_ERRORS):  # known by its inode and mtime only
                    device, inode = old.identity
                    yield Position(path="", number=0, device=device, inode=inode, modified=old.modified)

    def departed(self, now: float, previous: Iterable[Position], renamed: bool = True) -> None:
        """The path has moved on, or not `renamed` its file was emptied: further generations may have come and gone
        before anybody looked (B17).
        """
        self._renamed = renamed
        self._newest = max([self._newest, *(p.modified for p in previous)])
        self._newer_until = now + SEARCH
        self._next_look = now

    def resume(self, file: Opened) -> tuple[str, Position] | None:
        """The position at which to go on in the file that the path names; "" for a key that must be new."""
        inode = file.stat().st_ino
        for key, position in [*self.missing.items(), *self._done.items()]:
            if position.inode != inode or position.compressed:
                continue
            if fits(file, position):
                self.missing.pop(key, None)
                self._done.pop(key, None)
                return key, position
            if key in self._restored and self._cut_short(file, position):
                self._leave(key, self.missing.pop(key))
                return "", structs.replace(at_end(file, position, file.size()), skipping=False)
        return None

    def moved_on(self, now: float, previous: Iterable[Position]) -> None:
        """The path names another file, which cannot be looked into."""
        self._count(rotations=1)
        self.departed(now, previous)

    def arrived(self, file: Opened) -> bool:
        """The path has come to name a file that `resume` does not know, after others. Whether it is another one."""
        inode = file.stat().st_ino
        truncated = any(p.inode == inode and not p.compressed for p in self.missing.values())
        self._count(rotations=not truncated, truncations=truncated)
        return not truncated

    def mislaid(self, key: str, position: Position, now: float) -> None:
        """Lost from sight: what was not read may still be found."""
        self.missing[key] = position
        self._missing_until = now + SEARCH
        self._next_look = now
        self._packed_copies.clear()

    def truncated(self, key: str, position: Position, now: float) -> None:
        """B19-B24: what was not read may stand in the copy that the rotator made."""
        self._count(truncations=1)
        self.mislaid(key, position, now)

    def cut(self, size: int) -> None:
        """So many unread bytes were taken off the end of a file that stays as it was otherwise."""
        self._count(truncations=1, lost_bytes=size)

    def finish(self, key: str, position: Position, shortfall: int = 0) -> None:
        """Given up with all its bytes read, but for so many that it lost while nobody looked; remembered for a
        while, so that nothing reads it again.
        """
        self._count(lost_bytes=shortfall)
        self._done[key] = structs.replace(position, done=True)
        while len(self._done) > _REMEMBERED:
            oldest = min(self._done, key=lambda k: self._done[k].number)
            self._leave(oldest, self._done.pop(oldest))

    def remember(self, key: str, position: Position) -> None:
        """Given up, of which the ledger must be told."""
        self.finish(key, position)
        self._untold[key] = self._done[key]

    def unreadable(self, key: str, position: Position, now: float) -> None:
        """D42: the path names a file that may not be opened; it may be moved on before it may."""
        self._untold[key] = position
        self.mislaid(key, position, now)

    def still_unreadable(self, key: str, found: os.stat_result) -> None:
        """It may grow; of one that was read before, only its bytes tell whether it did."""
        position, self._renamed = self.missing[key], False
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

        The caller adds each to `opened` before it asks for the next.
        """
        self._bide(now, named)
        newer = now <= self._newer_until or self._held_up
        if now < self._next_look or not (self.missing or newer):
            return
        self._denied.clear()
        for old in self._siblings():
            if any(old.identity == g.identity for g in opened) or (old.identity, old.modified) in self._packed_copies:
                continue
            found = None
            with suppress(OSError, *GZIP_ERRORS):
                found = self._examine(old, newer, opened, now)
            if found:
                yield found
        late = now >= self._missing_until
        for key, position in list(self.missing.items()) if late else ():
            if (position.device, position.inode) not in self._denied:
                self._lose(key, self.missing.pop(key))
        self._held_up = newer and bool(self._denied)
        self._next_look = now if now <= self._newer_until or (named and not late) else now + _PAUSE

    def _bide(self, now: float, named: bool) -> None:
        """Nothing is lost as long as the path names nothing, or something that cannot be read."""
        if self._unlooked:
            self._unlooked = False
            self._missing_until = now + SEARCH
            # While we were down a whole generation may have come and gone (B18).
            self._newer_until = self._newer_until if named else now + SEARCH
        if named:
            self._away_since = None
            return
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since < _AWAY:
            self._missing_until = now + SEARCH

    def _examine(self, old: Sibling, newer: bool, opened: list[Generation], now: float) -> Found | None:
        """Raises OSError and GZIP_ERRORS."""
        second, newest = old.modified // _SECOND, self._newest // _SECOND
        only_seen = {(p.device, p.inode, p.modified) for p in self._done.values() if not p.head_length}
        newer = newer and second >= newest and (*old.identity, old.modified) not in only_seen
        # Whoever packs a file keeps its mtime, so not every old `.gz` must be unpacked to be told from another.
        earliest = min([p.modified for p in self.missing.values()], default=self._newest) // _SECOND
        if not newer and (not self.missing or (old.path.endswith(".gz") and second < min(earliest, newest))):
            return None
        try:
            file, found = open_log(old.path), None
        except PermissionError:
            self._denied.add(old.identity)
            raise
        try:
            found = self._match(file, opened, newer, now)
        finally:
            if found is None:
                file.close()
        return found

    def _match(self, file: Opened, opened: list[Generation], newer: bool, now: float) -> Found | None:
        held = identity(file.stat())
        for key, position in self.missing.items():
            if position.marker_length and fits(file, position):
                return key, file, self.missing.pop(key)
        known = (*self._done.values(), *self.missing.values(), *(g.position for g in opened))
        if any(_same_bytes(file, g.file) for g in opened) or any(_copied(file, p) for p in known):
            if file.compressed:  # to find out again would mean to unpack it again
                self._packed_copies.add((held, file.stat().st_mtime_ns))
            return None
        if self._too_small(file, known, now):
            return None
        # Without a byte read there is only the inode, which may be in use again: so it comes last (B27). Was the
        # file truncated or packed meanwhile, then whatever is new may be what it held.
        for key, position in self.missing.items():
            same = held == (position.device, position.inode)
            if not position.marker_length and (same or (newer and file.size() >= max(1, position.size))):
                return key, file, self.missing.pop(key)
        if not newer or not file.size():
            return None
        self._count(rotations=self._renamed, truncations=not self._renamed)
        return "", file, structs.replace(unread_of(file), modified=self._newest)

    def _too_small(self, file: Opened, known: Iterable[Position], now: float) -> bool:
        """A file shorter than the beginning of a known one may be a copy in the making, until it stays as it is."""
        size = file.size()
        if file.compressed or all(p.head_length <= size for p in known):
            return False
        seen = (identity(file.stat()), size)
        self._small = {key: since for key, since in self._small.items() if key[0] != seen[0] or key == seen}
        return now - self._small.setdefault(seen, now) < _STILL

    def tell(self, window: Window) -> Window:
        """The window with all news that are waiting."""
        if self._news == News() and not self._leaving:
            return window
        news = structs.asdict(structs.replace(self._news, forget=tuple(self._leaving)))
        return structs.replace(window, **news)

    def told(self, window: Window) -> None:
        """The window's news are in the ledger."""
        news = self._news
        self._news = News(
            news.rotations - window.rotations,
            news.truncations - window.truncations,
            news.lost_bytes - window.lost_bytes,
        )
        self._untold.pop(window.file, None)
        for key in window.forget:
            self._leaving.pop(key, None)

    def news(self, source: str, unannounced: Generation | None) -> Window | None:
        """A window without bytes, for news that no bytes will carry."""
        if unannounced is not None:
            return self.tell(Window(source, unannounced.key, unannounced.position))
        for key, position in self._untold.items():
            return self.tell(Window(source, key, position, closes=position.done))
        for key, position in self._leaving.items():
            return self.tell(Window(source, key, position))
        return None

    def forget(self) -> None:
        """Nothing of this path is needed any more."""
        self._leaving |= self.missing | self._done
        self.missing, self._done, self._untold = {}, {}, {}

    def _lose(self, key: str, position: Position) -> None:
        say = _log.warning if position.unread else _log.info
        say("not found again, nor a copy: path=%s unread_bytes=%d", self._path, position.unread)
        self._count(lost_bytes=position.unread)
        self.remember(key, position)

    def _cut_short(self, file: Opened, position: Position) -> bool:
        """After a power loss: the same file, shorter than what was durable here, and nowhere a copy of it all."""
        size = file.size()
        if not 0 < position.head_length <= size < position.offset or not head_fits(file, position):
            return False
        for old in self._siblings():
            with suppress(OSError, *GZIP_ERRORS), closing(open_log(old.path)) as other:
                if fits(other, position):
                    return False
        return True

    def _siblings(self) -> list[Sibling]:
        """Where the path is or was a symbolic link, what it led to may have been rotated, or be left (B28)."""
        left = {decoded(p.target) for p in self.missing.values() if p.target}
        now = os.path.realpath(self._path)
        found = {s for target in left - {now} for s in siblings([target])}
        for path in {self._path, now} | left:
            with suppress(OSError):
                found |= {*rotated(path, self._log_patterns)}
        return sorted(found, key=lambda s: s.age)

    def _leave(self, key: str, position: Position) -> None:
        self._untold.pop(key, None)
        self._leaving[key] = position

    def _count(self, rotations: int = 0, truncations: int = 0, lost_bytes: int = 0) -> None:
        news = self._news
        self._news = News(news.rotations + rotations, news.truncations + truncations, news.lost_bytes + lost_bytes)


def unread_of(file: Opened) -> Position:
    """The position at the beginning of a file, its path and number left open."""
    found = file.stat()
    return Position(
        path="",
        number=0,
        device=found.st_dev,
        inode=found.st_ino,
        modified=found.st_mtime_ns,
        compressed=file.compressed,
    )


def _copied(file: Opened, position: Position) -> bool:
    """Whether a file is a copy, perhaps a half-made one, of a generation that is known (B29)."""
    if position.head_length == 0 or not head_fits(file, position):
        return False
    size = file.size()
    return position.head_length <= size and (size < position.offset or fits(file, position))


def _same_bytes(file: Opened, other: Opened) -> bool:
    """Whether one begins with all of the other, as far as the beginning and the end of the shorter one tell."""
    if file.read(0, MARKER) != other.read(0, MARKER) and min(file.size(), other.size()) >= MARKER:
        return False
    size = min(file.size(), other.size())
    ends = ((0, min(size, MARKER)), (max(0, size - MARKER), min(size, MARKER)))
    return size > 0 and all(file.read(*end) == other.read(*end) for end in ends)
