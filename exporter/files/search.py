"""Finding the files of missing generations among a log's siblings, and generations that came and went unseen.

Found by inode where the file was only renamed, by content where it was copied or compressed. Copies of what is
known, and files rotated before the path was first seen, are never taken for anything.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress

from msgspec import Struct, structs

from exporter.files.generation import Generation
from exporter.files.likeness import fits, is_copy
from exporter.files.opened import GZIP_ERRORS, Identity, Opened, at_end, identity, open_log, unread_of
from exporter.files.places import Places
from exporter.files.siblings import Sibling
from exporter.window import Position

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


class Known(Struct, frozen=True):
    """The generations of a path as they are at each moment: missing, given up, and open."""

    missing: Mapping[str, Position]
    done: Collection[Position]
    opened: list[Generation]

    @property
    def positions(self) -> list[Position]:
        return [*self.done, *self.missing.values(), *(g.position for g in self.opened)]

    def is_open(self, held: Identity) -> bool:
        return any(held == g.identity for g in self.opened)


class Search:
    """Times are monotonic seconds. `renamed`: generations that came and went unseen did so by renaming, rather
    than by copying and truncating.
    """

    def __init__(self, path: str, log_patterns: tuple[str, ...], known: Collection[Position]) -> None:
        self.renamed = True
        self._places = Places(path, log_patterns)
        # Whatever has an older mtime (nanoseconds) is known, or ancient.
        self._known_until = max((p.modified for p in known), default=0)
        self._begins = bool(known)
        self._newer_until = self._missing_until = self._next_look = 0.0
        self._away_since: float | None = None
        self._moving = self._held_up = False
        self._present: dict[Identity, int] = {}
        self._undecided: set[Identity] = set()
        self._making: set[Identity] = set()
        self._small: dict[tuple[Identity, int], float] = {}
        self._copies: dict[Identity, Sibling] = {}

    def ancient(self, modified: int) -> Iterator[Position]:
        """Where the files that stand under rotated names end, before anything of the path was read.

        Only files about as young as its own, of the mtime `modified`: older ones are told by their mtime (B26).
        """
        present = self._places.siblings(())
        self._known_until = max([modified, *(s.modified for s in present)])
        for old in present:
            if old.modified // _SECOND >= self._known_until // _SECOND - 1:
                try:
                    with closing(open_log(old.path)) as file:
                        yield at_end(file, unread_of(file), file.size())
                except (OSError, *GZIP_ERRORS):  # known by its inode and mtime only
                    device, inode = old.identity
                    yield Position(path="", number=0, device=device, inode=inode, modified=old.modified)

    def unread(self, file: Opened) -> Position:
        """The position of a generation of which nothing is in the ledger; until it is, an older one may turn up."""
        return structs.replace(unread_of(file), modified=self._known_until)

    def for_newer(self, now: float, modified: int, renamed: bool) -> None:
        """From now on generations younger than `modified` (mtime) are looked for, of which nothing is known."""
        self.renamed = renamed
        self._known_until = max(self._known_until, modified)
        self._newer_until = now + SEARCH
        self._next_look = now

    def for_missing(self, now: float) -> None:
        """A generation more is missing from now on."""
        self._missing_until = now + SEARCH
        self._next_look = now
        self._copies.clear()

    @property
    def waits(self) -> bool:
        """Something small may be a copy in the making, or a generation older than what has not been read yet; or names
        were moved while they were looked at, so that one may have been overlooked.
        """
        return self._moving or bool(self._making)

    def lies_there(self, held: Identity) -> bool:
        """At the last look a rotated name led to this file, or it may have been overlooked."""
        return self._moving or held in self._present

    def copied(self, position: Position, but: Identity) -> bool:
        """Whether another file holds all that was read up to a position."""
        for old in self._places.siblings(()):
            with suppress(OSError, *GZIP_ERRORS), closing(open_log(old.path)) as file:
                if old.identity != but and fits(file, position):
                    return True
        return False

    def find(self, now: float, named: bool, known: Known) -> Iterator[Found]:
        """The oldest first. The caller takes each out of the missing, and adds it to those that are open."""
        self._bide(now, named)
        newer = now <= self._newer_until or self._held_up
        if now < self._next_look:
            return
        self._moving = False
        if not (known.missing or newer):
            return
        self._undecided.clear()
        self._making.clear()
        for old in self._look(newer, known):
            if known.is_open(old.identity) or self._copies.get(old.identity) == old:
                continue
            found = None
            try:
                found = self._examine(old, newer, now, known)
            except FileNotFoundError:  # it is being renamed
                self._moving = True
            except (OSError, *GZIP_ERRORS):
                pass
            if found:
                yield found
        self._held_up = newer and (self._moving or bool(self._undecided))
        hurry = self.waits or now <= self._newer_until or (named and now < self._missing_until)
        self._next_look = now if hurry else now + _PAUSE

    def given_up(self, now: float, missing: Mapping[str, Position]) -> list[str]:
        """Keys of what was looked for long enough, unless it was overlooked, or is there and may not be read yet."""
        late = now >= self._missing_until and not self._moving
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

    def _look(self, newer: bool, known: Known) -> list[Sibling]:
        """What lies there. Where names are moved meanwhile, one may be overlooked: a second look shows that."""
        for generation in known.opened:
            self._places.prove(generation.file.folder())
        missing = known.missing.values()
        present = self._places.siblings(missing)
        names = {old.path: old.identity for old in present}
        self._moving = names != {old.path: old.identity for old in self._places.siblings(missing)}
        self._present = {old.identity: old.size for old in present}
        return present

    def _examine(self, old: Sibling, newer: bool, now: float, known: Known) -> Found | None:
        """Raises OSError and GZIP_ERRORS."""
        newer = newer and self._may_be_newer(old, known)
        if not newer and not self._may_be_missing(old, known):
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
            found = self._of_missing(file, old, known) or self._of_unknown(file, old, newer, now, known)
        finally:
            if found is None:
                file.close()
        return (found[0], file, found[1]) if found else None

    def _may_be_newer(self, old: Sibling, known: Known) -> bool:
        """Than all that is known: by its mtime, or because it stands in the place of one that was emptied."""
        if not self._places.is_proved(old.path):
            return False
        only_seen = {(p.device, p.inode, p.modified) for p in known.done if not p.head_length}
        if (*old.identity, old.modified) in only_seen:
            return False
        if not old.path.endswith(".gz") and old.identity in {(p.device, p.inode) for p in known.missing.values()}:
            return True
        return old.modified // _SECOND >= self._known_until // _SECOND

    def _may_be_missing(self, old: Sibling, known: Known) -> bool:
        """Whoever packs a file keeps its mtime, so not every old `.gz` must be unpacked to be told from another."""
        if not known.missing:
            return False
        earliest = min(self._known_until, *(p.modified for p in known.missing.values()))
        return not old.path.endswith(".gz") or old.modified // _SECOND >= earliest // _SECOND

    def _of_missing(self, file: Opened, old: Sibling, known: Known) -> tuple[str, Position] | None:
        """One that was read in part. Where nothing is proved, a copy that somebody has made earlier does not do."""
        proved = self._places.is_proved(old.path)
        for key, position in known.missing.items():
            if position.marker_length and fits(file, position) and (proved or file.size() >= position.size):
                self._places.prove(os.path.dirname(old.path))
                return key, position
        return None

    def _of_unknown(
        self, file: Opened, old: Sibling, newer: bool, now: float, known: Known
    ) -> tuple[str, Position] | None:
        """A generation of which nothing was read."""
        size = file.size()  # once: it may grow while it is judged
        if is_copy(file, size, known.positions, [g.file for g in known.opened]):
            self._copies[old.identity] = old
            return None
        if not file.compressed and self._may_be_making(old.identity, size, newer, now, known):
            return None
        # There is only the inode, which may be in use again (B27).
        unread = {key: p for key, p in known.missing.items() if not p.marker_length}
        for key, position in unread.items():
            if old.identity == (position.device, position.inode) and (size >= position.size or not newer):
                return key, position
        if not newer or not size:
            return None
        if any(not g.position.offset and g.file.size() < g.position.size for g in known.opened):
            self._moving = True  # one was emptied just now: this may be what it held
            return None
        # Was a missing one emptied or packed meanwhile, then whatever is new may be what it held.
        gone = [(p.size, key) for key, p in unread.items() if p.size <= size and self._is_gone(p, known)]
        if gone:
            key = max(gone)[1]
            return key, unread[key]
        return "", self.unread(file)

    def _is_gone(self, position: Position, known: Known) -> bool:
        """No file of its inode can be what it was."""
        held = position.device, position.inode
        return known.is_open(held) or self._present.get(held, -1) < position.size

    def _may_be_making(self, held: Identity, size: int, newer: bool, now: float, known: Known) -> bool:
        """A file shorter than the beginning of a known one may be a copy in the making, until it stays as it is."""
        if all(p.head_length <= size for p in known.positions):
            return False
        seen = held, size
        self._small = {key: since for key, since in self._small.items() if key[0] != held or key == seen}
        if now - self._small.setdefault(seen, now) >= _STILL:
            return False
        self._undecided.add(held)
        if newer:
            self._making.add(held)
        return True
