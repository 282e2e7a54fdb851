"""Finding the files of missing generations, and of generations that came and went between two looks.

Operations: find what is missing, find what nobody has seen, say what may still turn up, say what is lost.
Goals: a missing generation is found by inode and content under any name, also as a copy or packed. A generation that
nobody has seen is found by a rotated name, because only the name says that the file belongs to the log. A *copy*
of known bytes is never read again, and neither is a file that had a rotated name before the path was first seen.

A file is opened only where its inode, its size or its mtime make it a candidate. One that was compared in vain
is not opened again until it has changed. Times are monotonic seconds.
"""

from collections.abc import Iterator
from contextlib import closing, suppress

from msgspec import structs

from exporter.tail.deadlines import Deadlines
from exporter.tail.fingerprint import is_copy, matches, position_at, start_of
from exporter.tail.generation import Generation
from exporter.tail.open_file import FILE_ERRORS, OpenFile, Unpacking, identity, open_log
from exporter.tail.position import Identity, Position
from exporter.tail.search_folders import SearchFolders, Sibling
from exporter.tail.table import Generations, Index, positions
from parsers.values.numbers import SECOND

#: Seconds after which a file that does not grow is no unfinished copy.
STILL = 2.0

#: Files that may be logs of their own, by their names: the youngest are remembered by what they hold.
_AMBIGUOUS = 64

#: A clock may have been set back by less than this since a plain file was known.
_DAY = 86400 * SECOND

#: The missing generation, None for one that nobody has seen; its open file; where to go on in it.
Found = tuple[Generation | None, OpenFile, Position]


class Search:
    """`renamed`: generations that nobody has seen were renamed, rather than copied and truncated. `is_unpacking`: the
    next look can go on at once.
    """

    def __init__(self, table: Generations, index: Index, folders: SearchFolders) -> None:
        self.renamed = True
        self.is_unpacking = False
        self._table, self._index, self._folders = table, index, folders
        known = positions(table)
        # Whatever has an older mtime (nanoseconds) is in the ledger, or was there before the path was first seen.
        self._known_until = max((p.modified for p in known), default=0)
        self._deadlines = Deadlines(bool(known))
        self._moving = self._held_up = False
        self._undecided: set[Identity] = set()
        self._growing: set[Identity] = set()
        self._small: dict[tuple[Identity, int], float] = {}
        self._rejected: dict[Identity, Sibling] = {}
        self._unpacking: dict[Sibling, OpenFile] = {}

    def preexisting(self, since: int, modified: int) -> Iterator[Position]:
        """Where the files with rotated names end when the path is first looked at; `modified` is the mtime of its file.

        Only files about as young as the path's own: older ones are recognised by their mtime (B26). Files that may be
        logs of their own (`worker-1.log` beside `worker.log`) go on growing, so that their mtime says nothing.
        """
        present = self._folders.siblings(since, (), lambda found: found.st_size > 0)
        self._known_until = max([modified, *(s.modified for s in present)])
        ambiguous = [old for old in present if self._folders.is_ambiguous(old)][-_AMBIGUOUS:]
        for old in present:
            if old.modified // SECOND >= self._known_until // SECOND - 1 or old in ambiguous:
                try:
                    with closing(open_log(old.path)) as file:
                        yield position_at(file, start_of(file), file.size())
                except (*FILE_ERRORS, Unpacking):  # then its inode and mtime have to do
                    device, inode = old.identity
                    yield Position(path="", number=0, device=device, inode=inode, modified=old.modified)

    def start_of(self, file: OpenFile) -> Position:
        """The position of a generation of which the ledger has nothing; until it has, an older one may turn up."""
        return structs.replace(start_of(file), modified=self._known_until)

    def for_newer(self, now: float, modified: int, renamed: bool) -> None:
        """From now on unknown generations that are younger than `modified` (mtime) are searched for."""
        self.renamed = renamed
        self._known_until = max(self._known_until, modified)
        self._deadlines.for_newer(now)

    def for_missing(self, now: float) -> None:
        """From now on one more generation is missing."""
        self._deadlines.for_missing(now)
        self._rejected.clear()

    @property
    def waits(self) -> bool:
        """A small file may be an unfinished copy, or a generation older than what has not been read yet; or names were
        moved while they were listed, so that one may have been overlooked.
        """
        return self._moving or bool(self._growing)

    def is_over(self, now: float) -> bool:
        """Nothing that nobody has seen is searched for."""
        return not (self._deadlines.newer(now) or self._held_up or self.waits)

    def is_present(self, held: Identity) -> bool:
        """A rotated name led to this file at the last look, or it may have been overlooked."""
        return self._moving or held in self._folders.present

    def is_copied(self, since: int, position: Position, but: Identity) -> bool:
        """Whether another file holds all that was read up to a position."""
        for old in self._folders.siblings(since, (position,), lambda _: True):
            if old.identity == but:
                continue
            with suppress(*FILE_ERRORS), closing(open_log(old.path)) as file:
                while True:
                    with suppress(Unpacking):
                        if matches(file, position):
                            return True
                        break
        return False

    def find(self, now: float, since: int, named: bool) -> Iterator[Found]:
        """Files found, the oldest first. The caller opens each in the table before it asks for the next.

        `named`: the path names a file that can be read. Listings are made after `since`.
        """
        self._deadlines.extend(now, named)
        newer = self._deadlines.newer(now) or self._held_up
        if not self._deadlines.is_due(now):
            return
        self._moving = self.is_unpacking = False
        missing = self._table.missing
        if not (missing or newer):
            return
        self._undecided.clear()
        self._growing.clear()
        has_found, present = False, self._look(since, positions(missing))
        for old in present:
            if self._is_open(old.identity) or self._is_owned(old.identity) or self._rejected.get(old.identity) == old:
                continue
            found = None
            try:
                found = self._examine(old, newer and old.rotated, now)
            except FileNotFoundError:  # it is being renamed
                self._moving = True
            except FILE_ERRORS:
                pass
            if found:
                has_found = True
                yield found
        for old in self._unpacking.keys() - set(present):
            self._unpacking.pop(old).close()
        self._held_up = newer and (self._moving or bool(self._undecided))
        # What was found may have confirmed a folder, in which there may be more.
        self._deadlines.looked(now, at_once=has_found or self.is_unpacking, soon=self.waits, named=named)

    def not_found(self, now: float) -> list[Generation]:
        """What was searched for long enough, unless it was overlooked, or is there and cannot be read yet."""
        if self._deadlines.missing(now) or self._moving:
            return []
        return [g for g in self._table.missing if g.position.identity not in self._undecided]

    def close(self) -> None:
        for file in self._unpacking.values():
            file.close()
        self._unpacking.clear()

    def _look(self, since: int, missing: list[Position]) -> list[Sibling]:
        """What is there. A file with the inode of a missing generation comes first: the others may be copies of it."""
        for generation in self._table.opened:
            self._folders.confirm(generation.opened.file.folder())
        oldest = min([self._known_until, *(p.modified - _DAY for p in missing)]) // SECOND
        held = {p.identity for p in missing}
        present = self._folders.siblings(
            since,
            missing,
            lambda found: found.st_mtime_ns // SECOND >= oldest or identity(found) in held,
        )
        self._moving = self._folders.moving
        read = {p.identity for p in missing if p.tail.length}
        return sorted(present, key=lambda old: (old.identity not in read, not old.rotated))

    def _examine(self, old: Sibling, newer: bool, now: float) -> Found | None:
        """Raises FILE_ERRORS."""
        newer = newer and self._may_be_newer(old)
        if not newer and not self._may_be_missing(old):
            return None
        try:
            file = self._unpacking.pop(old, None) or open_log(old.path)
        except PermissionError:
            self._undecided.add(old.identity)
            raise
        found: tuple[Generation | None, Position] | None = None
        try:
            if identity(file.stat()) != old.identity:
                raise FileNotFoundError(old.path)
            found = self._of_missing(file, old)
            if found is None and old.rotated:
                found = self._of_unknown(file, old, newer, now)
            elif found is None:
                self._rejected[old.identity] = old
        except Unpacking:
            self._note_unpacking(old, file, newer)
            return None
        finally:
            if found is None and old not in self._unpacking:
                file.close()
        return (found[0], file, found[1]) if found else None

    def _note_unpacking(self, old: Sibling, file: OpenFile, newer: bool) -> None:
        self._unpacking[old] = file
        self._undecided.add(old.identity)
        self.is_unpacking = True
        if newer:
            self._growing.add(old.identity)

    def _may_be_newer(self, old: Sibling) -> bool:
        """Whether it is younger than all that is known: by its mtime, or because it is where a truncated file was."""
        if not self._folders.is_confirmed(old.path):
            return False
        if any(p.identity == old.identity and p.modified == old.modified for p in self._only_seen()):
            return False
        if not old.path.endswith(".gz") and any(g.position.identity == old.identity for g in self._table.missing):
            return True
        return old.modified // SECOND >= self._known_until // SECOND

    def _only_seen(self) -> list[Position]:
        """Files that were there before the path was first seen, and could not be read."""
        return [g.position for g in self._table.done if not g.position.head.length]

    def _may_be_missing(self, old: Sibling) -> bool:
        """Programs that pack a file keep its mtime, so an old `.gz` need not be unpacked to be compared."""
        missing = positions(self._table.missing)
        if not missing:
            return False
        if any(p.identity == old.identity for p in missing):
            return True
        earliest = min(self._known_until, *(p.modified for p in missing))
        packed = old.path.endswith(".gz")
        if old.rotated and not packed:
            earliest -= _DAY
        if not (old.rotated or packed or any(old.size >= p.size for p in missing)):
            return False
        return old.modified // SECOND >= earliest // SECOND

    def _of_missing(self, file: OpenFile, old: Sibling) -> tuple[Generation, Position] | None:
        """A generation that was read in part. In an unconfirmed folder, or under a name that no rotated file has, a
        copy that somebody has made earlier is not enough.
        """
        may_be_shorter = self._folders.is_confirmed(old.path) and old.rotated
        for generation in self._table.missing:
            position = generation.position
            if not position.tail.length or not matches(file, position):
                continue
            if may_be_shorter or old.identity == position.identity or file.size() >= position.size:
                self._folders.confirm(_folder(old))
                return generation, position
        return None

    def _of_unknown(
        self, file: OpenFile, old: Sibling, newer: bool, now: float
    ) -> tuple[Generation | None, Position] | None:
        """A generation of which nothing was read."""
        size = file.size()  # once: it may grow while it is compared
        known = positions([*self._table.read_from(old.identity), *self._known()])  # most often it is the same file
        if is_copy(file, size, known, [g.opened.file for g in self._table.opened]):
            self._rejected[old.identity] = old
            return None
        if not file.packed and self._may_be_growing(old.identity, size, newer, now):
            return None
        # There is only the inode, which may be in use again (B27).
        unread = [g for g in self._table.missing if not g.position.tail.length]
        for generation in unread:
            if old.identity == generation.position.identity and (size >= generation.position.size or not newer):
                return generation, generation.position
        if not newer or not size:
            return None
        if any(not g.position.offset and g.opened.file.size() < g.position.size for g in self._table.opened):
            self._moving = True  # that file was truncated just now: this may be what it held
            return None
        # Where a missing one was truncated or packed meanwhile, any new file may be what it held.
        gone = [g for g in unread if g.position.size <= size and self._is_gone(g.position)]
        if gone:
            largest = max(gone, key=lambda g: (g.position.size, g.key))
            return largest, largest.position
        return None, self.start_of(file)

    def _known(self) -> list[Generation]:
        return [*self._table.done, *self._table.missing, *self._table.opened]

    def _is_open(self, held: Identity) -> bool:
        return any(held == g.position.identity for g in self._table.opened)

    def _is_owned(self, held: Identity) -> bool:
        """Another path reads this file."""
        return self._index.is_read(held, self._table)

    def _is_gone(self, position: Position) -> bool:
        """The inode was reused, or the file shrank."""
        return self._is_open(position.identity) or self._folders.present.get(position.identity, -1) < position.size

    def _may_be_growing(self, held: Identity, size: int, newer: bool, now: float) -> bool:
        """A file shorter than the beginning of a known one may be an unfinished copy, until it stays unchanged."""
        if all(p.head.length <= size for p in positions(self._known())):
            return False
        seen = held, size
        self._small = {key: since for key, since in self._small.items() if key[0] != held or key == seen}
        if now - self._small.setdefault(seen, now) >= STILL:
            return False
        self._undecided.add(held)
        if newer:
            self._growing.add(held)
        return True


def _folder(old: Sibling) -> str:
    return old.path.rpartition("/")[0]
