"""Searches the files of missing generations, and unseen generations: those that came and went between two looks.

Operations: find missing and unseen generations; say whether more may be found; say which generations are lost.
Goals: a missing generation is found by inode and content under any name, also as a copy or packed. An unseen
generation is found by a rotated name, because only the name says that the file belongs to the log. A *copy* of known
bytes is never read again, and neither is a file that had a rotated name before the first look at the path.

A file is opened only if its inode, size or mtime make it a candidate. A file that was compared without success is not
opened again until it changes. Times are monotonic seconds.
"""

from collections.abc import Iterator
from contextlib import closing, suppress

from msgspec import structs

from exporter.tail.fingerprint import is_copy, matches, position_at, start_of
from exporter.tail.generation import FileState, Generation
from exporter.tail.open_file import FILE_ERRORS, OpenFile, Unpacking, identity_of, open_log
from exporter.tail.position import Identity, Position
from exporter.tail.search_deadlines import SearchDeadlines
from exporter.tail.search_folders import Candidate, SearchFolders, may_be_missing, may_be_unseen, oldest_mtime
from exporter.tail.table import GenerationTable, positions
from parsers.values.numbers import SECOND

#: Seconds after which a file that does not grow is no unfinished copy.
STILL = 2.0

#: How many files that may be separate logs, judging by their names, are remembered by content: the newest ones.
_AMBIGUOUS = 64


class Search:
    """The search for generations of one path.

    `renamed`: unseen generations were renamed, rather than copied and truncated. `is_unpacking`: the next look can be
    made at once. `look_stamp` is the stamp of the last look at the path; only folder listings made after it are used.
    """

    def __init__(self, table: GenerationTable) -> None:
        self.renamed = True
        self.is_unpacking = False
        self.look_stamp = 0
        self._table, self._index = table, table.source.index
        self._folders = SearchFolders(table.path, table.source)
        known = positions(table)
        # The ledger has everything with an older mtime (nanoseconds), or it existed before the first look at the path.
        self._known_until = max((p.modified for p in known), default=0)
        self._deadlines = SearchDeadlines(bool(known))
        self._names_moved = self._is_unseen_undecided = self._waits_for_unseen = False
        self._undecided: set[Identity] = set()
        self._sizes: dict[Identity, tuple[int, float]] = {}
        self._rejected: dict[Identity, Candidate] = {}
        self._unpacking: dict[Candidate, OpenFile] = {}

    def ignore_until(self, modified: int) -> None:
        """Treat files with an older mtime (nanoseconds) as known."""
        self._known_until = max(self._known_until, modified)

    def preexisting(self, since: int, modified: int) -> Iterator[Position]:
        """Yield the end positions of files that have rotated names at the first look. `modified` is the mtime of the
        path's own file.

        Only files about as new as that file are needed: older ones are recognised by their mtime (B26). Files that may
        be separate logs (`worker-1.log` beside `worker.log`) keep growing, so their mtime proves nothing.
        """
        present = [c for c in self._folders.candidates(since) if c.size]
        self._known_until = max([modified, *(c.modified for c in present)])
        ambiguous = [c for c in present if self._folders.is_ambiguous(c)][-_AMBIGUOUS:]
        for candidate in present:
            if candidate.modified // SECOND >= self._known_until // SECOND - 1 or candidate in ambiguous:
                try:
                    with closing(open_log(candidate.path)) as file:
                        yield position_at(file, start_of(file), file.size())
                except (*FILE_ERRORS, Unpacking):  # the inode and mtime must be enough
                    device, inode = candidate.identity
                    yield Position(path="", number=0, device=device, inode=inode, modified=candidate.modified)

    def start_of(self, file: OpenFile) -> Position:
        """Return the first position of a new generation. Its low-water mtime is that of the known generations."""
        return structs.replace(start_of(file), modified=self._known_until)

    def search_unseen(self, now: float, renamed: bool, modified: int | None = None) -> None:
        """Search for unseen generations: the path names another file, or its file was truncated, so that further
        generations may have been created and rotated in between (B17).

        They are newer than the mtime `modified`, by default than all open generations.
        """
        self.renamed = renamed
        if modified is None:
            modified = max((p.modified for p in positions(self._table.opened)), default=0)
        self.ignore_until(modified)
        self._deadlines.search_unseen(now)

    def search_missing(self, now: float) -> None:
        self._deadlines.search_missing(now)
        self._rejected.clear()

    @property
    def waits(self) -> bool:
        """Return whether an older generation may still be found. A small file may be an unfinished copy. Or names moved
        while they were listed, so that a file may have been overlooked.
        """
        return self._names_moved or self._waits_for_unseen

    @property
    def has_ended(self) -> bool:
        """Return whether no unseen generation is searched for."""
        return not (self._deadlines.is_searching_unseen or self._is_unseen_undecided or self.waits)

    def is_present(self, identity: Identity) -> bool:
        """Return whether the last look found this file under a rotated name, or may have overlooked it."""
        return self._names_moved or identity in self._folders.present

    def is_copied(self, file: OpenFile, position: Position) -> bool:
        """Return whether another file has all bytes up to the position."""
        for candidate in self._folders.candidates(self.look_stamp, (position,)):
            if candidate.identity == identity_of(file.stat()):
                continue
            with suppress(*FILE_ERRORS), closing(open_log(candidate.path)) as other:
                while True:
                    with suppress(Unpacking):
                        if matches(other, position):
                            return True
                        break
        return False

    def find(self, now: float, named: bool) -> Iterator[tuple[Generation, OpenFile]]:
        """Yield the generations that were found, with their open files, the oldest first.

        An unseen generation is not in the table. The caller must open each before it requests the next.
        `named`: the path names a file that can be read.
        """
        self._deadlines.extend(now, named)
        unseen = self._deadlines.is_searching_unseen or self._is_unseen_undecided
        if not self._deadlines.is_due(now):
            return
        self._names_moved = self.is_unpacking = False
        if not (self._table.missing or unseen):
            return
        self._waits_for_unseen = False
        self._undecided.clear()
        has_found, present = False, self._look()
        for candidate in present:
            identity = candidate.identity
            is_read = self._is_open(identity) or self._index.is_open(identity, self._table)
            if is_read or self._rejected.get(identity) == candidate:
                continue
            found = None
            try:
                found = self._examine(candidate, unseen and candidate.rotated, now)
            except FileNotFoundError:  # the file is being renamed
                self._names_moved = True
            except FILE_ERRORS:
                pass
            if found is not None:
                has_found = True
                yield found
        for candidate in self._unpacking.keys() - set(present):
            self._unpacking.pop(candidate).close()
        self._is_unseen_undecided = unseen and (self._names_moved or bool(self._undecided))
        # A file that was found may have confirmed a folder with more files.
        self._deadlines.looked(now, at_once=has_found or self.is_unpacking, soon=self.waits, named=named)

    def not_found(self) -> list[Generation]:
        """Return the generations whose search has ended, unless they were overlooked or cannot be read yet."""
        if self._deadlines.is_searching_missing or self._names_moved:
            return []
        return [g for g in self._table.missing if g.position.identity not in self._undecided]

    def close(self) -> None:
        for file in self._unpacking.values():
            file.close()
        self._unpacking.clear()

    def _look(self) -> list[Candidate]:
        """List the candidates. Files with the inode of a missing generation come first: the others may be copies.

        A packed file is none of them: it was made when the inode was free again.
        """
        for generation in self._table.opened:
            self._folders.confirm(generation.opened.file.folder())
        missing = positions(self._table.missing)
        oldest = oldest_mtime(self._known_until, self._table)
        present = self._folders.candidates(self.look_stamp, missing, oldest)
        self._names_moved = self._folders.names_moved
        read = {(p.identity, p.compressed) for p in missing if p.tail.length}
        return sorted(present, key=lambda each: ((each.identity, each.is_packed) not in read, not each.rotated))

    def _examine(self, candidate: Candidate, unseen: bool, now: float) -> tuple[Generation, OpenFile] | None:
        """Open a file and compare it. Raise FILE_ERRORS."""
        unseen = (
            unseen
            and self._folders.is_confirmed(candidate.folder)
            and may_be_unseen(candidate, self._known_until, self._table)
        )
        if not unseen and not may_be_missing(candidate, self._known_until, self._table):
            return None
        try:
            file = self._unpacking.pop(candidate, None) or open_log(candidate.path)
        except PermissionError:
            self._undecided.add(candidate.identity)
            raise
        found: Generation | None = None
        try:
            if identity_of(file.stat()) != candidate.identity:
                raise FileNotFoundError(candidate.path)
            found = self._match_read(file, candidate)
            if found is None and candidate.rotated:
                found = self._match_unread(file, candidate, unseen, now)
            elif found is None:
                self._rejected[candidate.identity] = candidate
        except Unpacking:
            self.is_unpacking = True
            self._unpacking[candidate] = file
            self._mark_undecided(candidate.identity, unseen)
            return None
        finally:
            if found is None and candidate not in self._unpacking:
                file.close()
        return None if found is None else (found, file)

    def _match_read(self, file: OpenFile, candidate: Candidate) -> Generation | None:
        """Match the file with the missing generations that were read in part.

        In an unconfirmed folder, or under a name that is not rotated, the file must have all known bytes: a shorter
        one may be a copy that was made earlier.
        """
        may_be_shorter = self._folders.is_confirmed(candidate.folder) and candidate.rotated
        for generation in self._table.missing:
            position = generation.position
            if not position.tail.length or not matches(file, position):
                continue
            if may_be_shorter or candidate.identity == position.identity or file.size() >= position.size:
                self._folders.confirm(candidate.folder)
                return generation
        return None

    def _match_unread(self, file: OpenFile, candidate: Candidate, unseen: bool, now: float) -> Generation | None:
        """Match the file with the missing generations that were never read, or recognise an unseen generation."""
        size = file.size()  # once: the file may grow while it is compared
        all_known = positions([*self._table.done, *self._table.missing, *self._table.opened])
        # Most often it is the same file.
        known = [g.position for g in self._index.of(candidate.identity) if g.table is self._table] + all_known
        if is_copy(file, size, known, [g.opened.file for g in self._table.opened]):
            self._rejected[candidate.identity] = candidate
            return None
        if not file.packed and any(p.head.length > size for p in all_known) and self._may_grow(candidate, size, now):
            self._mark_undecided(candidate.identity, unseen)
            return None
        # Only the inode can identify these generations, and it may be reused (B27).
        unread = [g for g in self._table.missing if not g.position.tail.length]
        for generation in unread:
            if candidate.identity == generation.position.identity and (size >= generation.position.size or not unseen):
                return generation
        if not unseen or not size:
            return None
        if any(not g.position.offset and g.opened.file.size() < g.position.size for g in self._table.opened):
            self._names_moved = True  # that file was truncated just now: this file may be its copy
            return None
        # If a missing file was truncated or packed, any new file may be its copy.
        gone = [g for g in unread if g.position.size <= size and self._is_gone(g.position)]
        if gone:
            return max(gone, key=lambda g: (g.position.size, g.key))
        return self._table.new(self.start_of(file), FileState.DRAINING)

    def _is_open(self, identity: Identity) -> bool:
        return any(identity == g.position.identity for g in self._table.opened)

    def _is_gone(self, position: Position) -> bool:
        return self._is_open(position.identity) or self._folders.present.get(position.identity, -1) < position.size

    def _may_grow(self, candidate: Candidate, size: int, now: float) -> bool:
        """Return whether the file had another size less than STILL seconds ago: it may be an unfinished copy."""
        known, since = self._sizes.get(candidate.identity, (size, now))
        self._sizes[candidate.identity] = size, since if known == size else now
        return known != size or now - since < STILL

    def _mark_undecided(self, identity: Identity, unseen: bool) -> None:
        self._undecided.add(identity)
        self._waits_for_unseen |= unseen
