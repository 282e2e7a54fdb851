"""The generations of one path that are not open: missing ones, whose file must be found again, and those done.

Found by inode where the file was only renamed, by content where it was copied or compressed. Ancient files,
rotated before the path was first seen, are never taken for anything.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs

from exporter.generation import Generation
from exporter.opened import GZIP_ERRORS, Identity, Opened, at_end, fits, head_fits, identity, open_log
from exporter.siblings import Sibling, rotated
from exporter.window import MARKER, News, Position, Window

#: Seconds for which a missing generation is searched: a copy or a `.gz` may still be in the making.
SEARCH = 5.0

#: The same while the path names nothing: the whole folder may only be unmounted (D43).
_AWAY = 3600.0

#: Generations remembered after they were given up.
_REMEMBERED = 8

#: Some tools restore an mtime in whole seconds.
_SECOND = 1_000_000_000

#: Seconds after which a file that does not grow is no copy in the making.
_STILL = 2.0

Found = tuple[str, Opened, Position]


class Lineage:
    """`history`: the path has named a file before, in this life or an earlier one."""

    def __init__(self, path: str, log_patterns: tuple[str, ...], positions: Mapping[str, Position]) -> None:
        self.missing = {key: p for key, p in positions.items() if not p.done}
        self.history = bool(positions)
        self._path, self._log_patterns = path, log_patterns
        self._done = {key: p for key, p in positions.items() if p.done}
        self._restored = frozenset(self.missing)
        self._ancient: frozenset[tuple[Identity, int]] = frozenset()
        self._newest = max((p.modified for p in positions.values()), default=0)
        self._newer_until = self._missing_until = 0.0
        self._unlooked = self.history
        self._uncertain = False
        self._small: dict[tuple[Identity, int], float] = {}
        self._news = News()
        self._leaving: dict[str, Position] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.missing, *self._done, *self._leaving)

    @property
    def missing_bytes(self) -> int:
        return sum(p.unread for p in self.missing.values())

    def begun(self, now: float, *, rotated_away: bool, previous: Iterable[Position]) -> None:
        """The path has come to name a file that was not known; `previous` are the open generations before it."""
        if not self.history:
            self._ancient = frozenset((s.identity, s.modified) for s in self._siblings())
        elif rotated_away:
            self.departed(now, previous)
            self._count(rotations=1)
        elif self._uncertain:
            self.departed(now, previous)
        self.history = True

    def departed(self, now: float, previous: Iterable[Position]) -> None:
        """The path has moved on: further generations may have come and gone before anybody looked (B17)."""
        self._newest = max([self._newest, *(p.modified for p in previous)])
        self._newer_until = now + SEARCH

    def resume(self, file: Opened) -> tuple[str, Position] | None:
        """The position at which to go on in the file that the path names; "" for a key that must be new."""
        inode = file.stat().st_ino
        for key, position in [*self.missing.items(), *self._done.items()]:
            if position.inode != inode or position.compressed:
                continue
            if fits(file, position):
                self.missing.pop(key, None)
                self._done.pop(key, None)
                # Nothing of it was read, so it may be another file under the old inode (B27).
                self._uncertain |= not position.marker_length
                return key, position
            if key in self._restored and self._cut_short(file, position):
                self._leave(key, self.missing.pop(key))
                return "", at_end(file, position, file.size())
            if key in self.missing:
                self._count(truncations=1)
        return None

    def truncated(self, key: str, position: Position, now: float) -> None:
        """B19-B24: what was not read may stand in the copy that the rotator made."""
        self._count(truncations=1)
        self.missing[key] = position
        self._missing_until = now + SEARCH

    def lose(self, key: str, position: Position) -> None:
        self._count(lost_bytes=position.unread)
        self._leave(key, position)

    def finish(self, key: str, position: Position) -> None:
        """Given up with all its bytes read; remembered for a while, so that nothing reads it again."""
        self._done[key] = structs.replace(position, done=True)
        while len(self._done) > _REMEMBERED:
            oldest = min(self._done, key=lambda k: self._done[k].number)
            self._leave(oldest, self._done.pop(oldest))

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
        if self._unlooked:
            # While we were down a whole generation may have come and gone (B18).
            if not named:
                self._newer_until = now + SEARCH
            self._unlooked = False
        newer = now <= self._newer_until
        if not self.missing and not newer:
            return
        if not self._missing_until:
            self._missing_until = now + SEARCH
        for sibling in self._siblings():
            held = any(sibling.identity == generation.identity for generation in opened)
            if not held and (sibling.identity, sibling.modified) not in self._ancient:
                found = self._examine(sibling, newer, opened, now)
                if found:
                    yield found
        if now >= self._missing_until + (0 if named else _AWAY):
            for key in list(self.missing):
                self.lose(key, self.missing.pop(key))
            self._missing_until = 0.0

    def _examine(self, sibling: Sibling, newer: bool, opened: list[Generation], now: float) -> Found | None:
        earliest = min([p.modified for p in self.missing.values()], default=self._newest)
        second = sibling.modified // _SECOND
        if second < min(earliest, self._newest) // _SECOND:
            return None
        try:
            file = open_log(sibling.path)
        except (OSError, *GZIP_ERRORS):
            return None
        try:
            found = self._match(file, opened, newer and second >= self._newest // _SECOND, now)
        except (OSError, *GZIP_ERRORS):
            found = None
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
            return None
        if self._too_small(file, known, now):
            return None
        # Without a byte read there is only the inode, which may be in use again: so it comes last (B27).
        for key, position in self.missing.items():
            if not position.marker_length and held == (position.device, position.inode):
                return key, file, self.missing.pop(key)
        if not newer or not file.size():
            return None
        self._count(rotations=1)
        return "", file, Position(path="", number=0, device=held[0], inode=held[1], modified=self._newest)

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
        for key in window.forget:
            self._leaving.pop(key, None)

    def news(self, source: str, unannounced: Generation | None) -> Window | None:
        """A window without bytes, for news that no bytes will carry."""
        if unannounced is not None:
            return self.tell(Window(source, unannounced.key, unannounced.position))
        for key, position in self._leaving.items():
            return self.tell(Window(source, key, position))
        return None

    def forget(self) -> None:
        """Nothing of this path is needed any more."""
        self._leaving |= self.missing | self._done
        self.missing, self._done = {}, {}

    def _cut_short(self, file: Opened, position: Position) -> bool:
        """After a power loss: the same file, shorter than what was durable here."""
        size = file.size()
        return 0 < position.head_length <= size < position.offset and head_fits(file, position)

    def _siblings(self) -> list[Sibling]:
        try:
            return rotated(self._path, self._log_patterns)
        except OSError:
            return []

    def _leave(self, key: str, position: Position) -> None:
        self._leaving[key] = position

    def _count(self, rotations: int = 0, truncations: int = 0, lost_bytes: int = 0) -> None:
        news = self._news
        self._news = News(news.rotations + rotations, news.truncations + truncations, news.lost_bytes + lost_bytes)


def _copied(file: Opened, position: Position) -> bool:
    """Whether a file is a copy, perhaps a half-made one, of a generation that is known (B29)."""
    size = file.size()
    if not 0 < position.head_length <= size:
        return False
    return head_fits(file, position) and (size < position.offset or fits(file, position))


def _same_bytes(file: Opened, other: Opened) -> bool:
    """Whether one begins with all of the other, as far as the beginning and the end of the shorter one tell."""
    size = min(file.size(), other.size())
    ends = ((0, min(size, MARKER)), (max(0, size - MARKER), min(size, MARKER)))
    return size > 0 and all(file.read(*end) == other.read(*end) for end in ends)
