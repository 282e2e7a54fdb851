"""Finding the files of missing generations among a log's siblings, and generations that came and went unseen.

Found by inode where the file was only renamed, by content where it was copied or compressed. Copies of what is
known, and files rotated before the path was first seen, are never taken for anything.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from urllib.parse import unquote_to_bytes

from exporter.files.generation import Generation
from exporter.files.opened import GZIP_ERRORS, Identity, Opened, at_end, fits, head_fits, identity, open_log
from exporter.files.siblings import Sibling, folders_in, rotated, siblings
from exporter.window import MARKER, Position

#: Seconds of a search: a copy or a `.gz` may still be in the making.
SEARCH = 5.0

#: The same while the path names nothing: the whole folder may only be unmounted (D43).
_AWAY = 86400.0

#: Seconds between two looks into the folder where there is no hurry.
_PAUSE = 10.0

#: Some tools restore an mtime in whole seconds.
_SECOND = 1_000_000_000

#: Seconds after which a file that does not grow is no copy in the making.
_STILL = 2.0

#: A key, "" where the generation was not known; the open file; where to go on in it.
Found = tuple[str, Opened, Position]

Missing = Mapping[str, Position]


class Search:
    """Times are monotonic seconds. `renamed`: generations that came and went unseen did so by renaming, rather
    than by copying and truncating.
    """

    def __init__(self, path: str, log_patterns: tuple[str, ...], known: Collection[Position]) -> None:
        self.renamed = True
        self._path, self._log_patterns = path, log_patterns
        self._newest = max((p.modified for p in known), default=0)
        self._begins = bool(known)
        self._newer_until = self._missing_until = self._next_look = 0.0
        self._away_since: float | None = None
        self._small: dict[tuple[Identity, int], float] = {}
        self._present: dict[Identity, int] = {}
        self._undecided: set[Identity] = set()
        self._making: set[Identity] = set()
        self._held_up = self._moving = False
        self._moved_to: set[str] = set()
        self._unproved: set[str] = set()
        self._settled: dict[Identity, Sibling] = {}

    def ancient(self, modified: int) -> Iterator[Position]:
        """Where the files that stand under rotated names end, before anything of the path was read.

        Only files about as young as its own, of the mtime `modified`: older ones are told by their mtime (B26).
        """
        present = self._siblings({})
        self._newest = max([modified, *(s.modified for s in present)])
        for old in present:
            if old.modified // _SECOND >= self._newest // _SECOND - 1:
                try:
                    with closing(open_log(old.path)) as file:
                        yield at_end(file, unread_of(file), file.size())
                except (OSError, *GZIP_ERRORS):  # known by its inode and mtime only
                    device, inode = old.identity
                    yield Position(path="", number=0, device=device, inode=inode, modified=old.modified)

    def for_newer(self, now: float, modified: int, renamed: bool) -> None:
        """From now on generations younger than `modified` (mtime) are looked for, of which nothing is known."""
        self.renamed = renamed
        if not self.waits:  # else something older was perhaps overlooked
            self._newest = max(self._newest, modified)
        self._newer_until = now + SEARCH
        self._next_look = now

    def for_missing(self, now: float) -> None:
        """A generation more is missing from now on."""
        self._missing_until = now + SEARCH
        self._next_look = now
        self._settled.clear()

    @property
    def waits(self) -> bool:
        """Something small may be a copy in the making, or a generation older than what has not been read yet; or names
        were moved while they were looked at, so that one may have been overlooked.
        """
        return self._moving or bool(self._making)

    def lies_there(self, held: Identity) -> bool:
        """At the last look a rotated name led to this file, or names were moved meanwhile."""
        return self._moving or held in self._present

    def copied(self, position: Position, but: Identity) -> bool:
        """Whether another file holds all that was read up to a position."""
        for old in self._siblings({}):
            with suppress(OSError, *GZIP_ERRORS), closing(open_log(old.path)) as file:
                if old.identity != but and fits(file, position):
                    return True
        return False

    def find(
        self, now: float, named: bool, missing: Missing, done: Iterable[Position], opened: list[Generation]
    ) -> Iterator[Found]:
        """The oldest first. The caller takes each out of `missing`, and adds it to `opened`."""
        self._bide(now, named)
        newer = now <= self._newer_until or self._held_up
        if now < self._next_look:
            return
        self._moving = False
        if not (missing or newer):
            return
        self._undecided.clear()
        self._making.clear()
        self._moved_to |= {folder for g in opened if (folder := g.file.folder())}
        for old in self._look(newer, missing):
            if any(old.identity == g.identity for g in opened) or self._settled.get(old.identity) == old:
                continue
            found = None
            try:
                found = self._examine(old, newer, now, missing, [*done], opened)
            except FileNotFoundError:  # it is being renamed
                self._moving = newer
            except (OSError, *GZIP_ERRORS):
                pass
            if found:
                yield found
        self._held_up = newer and bool(self._undecided)
        hurry = self.waits or now <= self._newer_until or (named and now < self._missing_until)
        self._next_look = now if hurry else now + _PAUSE

    def _look(self, newer: bool, missing: Missing) -> list[Sibling]:
        """What lies there. Where names move meanwhile, one file may have been overlooked, and a second look shows it."""
        present = self._siblings(missing)
        names = {old.path: old.identity for old in present}
        self._moving = newer and names != {old.path: old.identity for old in self._siblings(missing)}
        self._present = {old.identity: old.size for old in present}
        return present

    def given_up(self, now: float, missing: Missing) -> list[str]:
        """Keys of what was looked for long enough, unless it is there and may only not be read yet."""
        late = now >= self._missing_until
        return [k for k, p in missing.items() if late and (p.device, p.inode) not in self._undecided]

    def _bide(self, now: float, named: bool) -> None:
        """Nothing is given up as long as the path names nothing, or something that cannot be read."""
        if self._begins:
            self._begins = False
            self._missing_until = now + SEARCH
            # While we were down, or just before, a whole generation may have come and gone (B18).
            self._newer_until = now + SEARCH
        if named:
            self._away_since = None
            return
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since < _AWAY:
            self._missing_until = now + SEARCH

    def _examine(
        self, old: Sibling, newer: bool, now: float, missing: Missing, done: list[Position], opened: list[Generation]
    ) -> Found | None:
        """Raises OSError and GZIP_ERRORS."""
        second, newest = old.modified // _SECOND, self._newest // _SECOND
        only_seen = {(p.device, p.inode, p.modified) for p in done if not p.head_length}
        newer = newer and self._may_be_newer(old, missing) and (*old.identity, old.modified) not in only_seen
        # Whoever packs a file keeps its mtime, so not every old `.gz` must be unpacked to be told from another.
        earliest = min([p.modified for p in missing.values()], default=self._newest) // _SECOND
        if not newer and (not missing or (old.path.endswith(".gz") and second < min(earliest, newest))):
            return None
        try:
            file = open_log(old.path)
        except PermissionError:
            self._undecided.add(old.identity)
            raise
        found = None
        try:
            if identity(file.stat()) != old.identity:
                raise FileNotFoundError(old.path)
            known = (*done, *missing.values(), *(g.position for g in opened))
            folder = os.path.dirname(old.path)
            if key := next((k for k, p in missing.items() if p.marker_length and self._holds(file, folder, p)), None):
                found = key, missing[key]
                self._moved_to.add(folder)
                self._unproved.discard(folder)
            else:
                size = file.size()  # once: it may grow while it is judged
                if _is_copy(file, size, known, opened):
                    self._settled[old.identity] = old
                elif not self._too_small(file, size, known, newer, now):
                    found = self._unread(file, size, newer, missing, opened)
        finally:
            if found is None:
                file.close()
        return (found[0], file, found[1]) if found else None

    def _holds(self, file: Opened, folder: str, position: Position) -> bool:
        """Anywhere but beside the log a copy that somebody has made earlier does not do."""
        return fits(file, position) and (folder not in self._unproved or file.size() >= position.size)

    def _may_be_newer(self, old: Sibling, missing: Missing) -> bool:
        """Than all that is known: by its mtime, or because it stands in the place of one that was emptied."""
        if os.path.dirname(old.path) in self._unproved:
            return False
        if not old.path.endswith(".gz") and any(old.identity == (p.device, p.inode) for p in missing.values()):
            return True
        return old.modified // _SECOND >= self._newest // _SECOND

    def _unread(
        self, file: Opened, size: int, newer: bool, missing: Missing, opened: list[Generation]
    ) -> tuple[str, Position] | None:
        """A generation of which nothing was read. There is only the inode, which may be in use again (B27)."""
        held = identity(file.stat())
        unread = {key: p for key, p in missing.items() if not p.marker_length}
        for key, position in unread.items():
            if held == (position.device, position.inode) and (size >= position.size or not newer):
                return key, position
        if not newer or not size:
            return None
        if any(not g.position.offset and g.file.size() < g.position.size for g in opened):
            self._moving = True  # one was emptied meanwhile: this may be what it held
            return None
        # Was a missing one emptied or packed meanwhile, then whatever is new may be what it held.
        elsewhere = {g.identity for g in opened}
        gone = {
            key: p
            for key, p in unread.items()
            if (p.device, p.inode) in elsewhere or self._present.get((p.device, p.inode), -1) < p.size
        }
        small_enough = [(p.size, key) for key, p in gone.items() if p.size <= size]
        if small_enough:
            key = max(small_enough)[1]
            return key, unread[key]
        return "", unread_of(file, modified=self._newest)

    def _too_small(self, file: Opened, size: int, known: Iterable[Position], newer: bool, now: float) -> bool:
        """A file shorter than the beginning of a known one may be a copy in the making, until it stays as it is."""
        if file.compressed or all(p.head_length <= size for p in known):
            return False
        seen = (identity(file.stat()), size)
        self._small = {key: since for key, since in self._small.items() if key[0] != seen[0] or key == seen}
        if now - self._small.setdefault(seen, now) >= _STILL:
            return False
        self._undecided.add(seen[0])
        if newer:
            self._making.add(seen[0])
        return True

    def _siblings(self, missing: Missing) -> list[Sibling]:
        """Where the path is or was a symbolic link, what it led to may have been rotated, or be left (B28). They may
        have been moved to another folder: to one below the log's, or to where one was moved that is still open (B29).
        """
        now = os.path.realpath(self._path)
        left = {os.fsdecode(unquote_to_bytes(p.target)) for p in missing.values() if p.target}
        found = set(siblings(left - {now}))
        for path in {self._path, now} | left:
            with suppress(OSError):
                found |= {*rotated(path, self._log_patterns)}
        folder, name = os.path.split(self._path)
        self._moved_to -= {folder, os.path.realpath(folder)}
        self._unproved = {*folders_in(folder)} - self._moved_to if missing else set()
        for each in self._moved_to | self._unproved:
            with suppress(OSError):
                found |= {*rotated(os.path.join(each, name))}
        return sorted(found, key=lambda s: (os.path.dirname(s.path) in self._unproved, s.age))


def unread_of(file: Opened, modified: int | None = None) -> Position:
    """The position at the beginning of a file, its path and number left open."""
    found = file.stat()
    return Position(
        path="",
        number=0,
        device=found.st_dev,
        inode=found.st_ino,
        modified=found.st_mtime_ns if modified is None else modified,
        compressed=file.compressed,
    )


def _is_copy(file: Opened, size: int, known: Iterable[Position], opened: list[Generation]) -> bool:
    return any(_begins(file, size, g.file) for g in opened) or any(_is_copy_of(file, size, p) for p in known)


def _is_copy_of(file: Opened, size: int, position: Position) -> bool:
    """Whether a file is a copy, perhaps a half-made one, of a generation that is known (B29)."""
    if position.head_length == 0 or not head_fits(file, position):
        return False
    return position.head_length <= size and (size < position.offset or fits(file, position))


def _begins(file: Opened, size: int, other: Opened) -> bool:
    """Whether all of a file is how the other begins, as far as its own beginning and end tell. The other way round it
    is no copy: a log's first line, half written, is how many of its generations begin.
    """
    ends = ((0, min(size, MARKER)), (max(0, size - MARKER), min(size, MARKER)))
    return 0 < size <= other.size() and all(file.read(*end) == other.read(*end) for end in ends)
