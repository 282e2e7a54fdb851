"""Opens the file that a path newly names, and decides where to start reading it.

The file belongs to one of these generations: one that is open already (the file got its old name back); one that
another path of the source was reading; one that is missing or done (found by inode and content, or by content alone if
the log was moved to another disk); or a new one, which is read from its beginning.
"""

import os

from msgspec import structs

from exporter.tail.fingerprint import first_position, head_matches, matches, position_at
from exporter.tail.generation import Event, FileState, Generation, last_of_inode
from exporter.tail.open_file import FILE_ERRORS, OpenFile, Unpacking, error_reason, identity_of, open_current
from exporter.tail.position import FINGERPRINT, Identity, Position
from exporter.tail.search import Search
from exporter.tail.table import GenerationTable


class FileOpener:
    """Opens the files of one path. `is_unpacking`: the file is unpacked first, and the next look can be made at once.

    `from_end`: of the file that exists at the start only new bytes are read. If the path names no such file, or one
    that another path reads, a later file is new, so it is read from its beginning. `trusted`: that file is no copy.
    `absent_since`: an earlier process has had the first look and read no file, so rotated files with a later mtime (in
    nanoseconds) are new too; None if there was none.
    """

    def __init__(
        self, table: GenerationTable, search: Search, from_end: bool, trusted: bool, absent_since: int | None
    ) -> None:
        self.is_unpacking = False
        self._table, self._search, self._from_end, self._trusted = table, search, from_end, trusted
        self._source, self._had_files = table.source, not table.is_empty()
        self._was_absent = absent_since is not None
        self._has_looked = self._had_files or self._was_absent
        self._search.ignore_until(absent_since or 0)
        self._unpacking: OpenFile | None = None

    def first_look(self, found: os.stat_result | None, error: str) -> None:
        """At the first look, remember all files with rotated names: they are never read.

        The path may be a link to a file with such a name (`rotatelogs -L`); that file is the log itself. If another
        path names the same file, its tracker knows which of the rotated files were read.
        """
        if self._has_looked:
            return
        self._has_looked, self._was_absent = True, found is None
        self._from_end = self._from_end and error != "missing"
        modified = found.st_mtime_ns if found else 0
        named = None if found is None else identity_of(found)
        owner = None if named is None else self._source.index.owner(named, self._table)
        is_of_another = owner is not None and owner.state is FileState.FOLLOWED
        for position in self._search.preexisting(self._source.folders.poll_stamp, modified):
            if is_of_another or position.identity == named:
                continue
            generation = self._table.new(structs.replace(position, done=True), FileState.DONE)
            generation.must_post = True
            self._table.add(generation)

    def leave(self) -> None:
        """The path no longer names the followed file. Read the rest of that file before its successor."""
        if (followed := self._table.followed) is not None:
            followed.opened.reached_eof = False
            self._table.transition(followed, Event.LEFT)

    def open_named(self, found: os.stat_result, now: float) -> str:
        """Open the file that the path names now. Return the reason if it cannot be read, else ""."""
        self.is_unpacking = False
        self.leave()
        named = identity_of(found)
        back = next((g for g in self._table.opened if g.position.identity == named), None)
        if back is not None:
            back.opened.closing = False
            self._table.transition(back, Event.NAMED)
            return ""
        other = self._source.index.owner(named, self._table)
        if other is not None and other.state is FileState.FOLLOWED:
            self._from_end = False
            return ""
        if other is not None:
            self._table.adopt(other)
            self._search.search_missing(now)
        try:
            file = self._opened(named)
        except OSError as error:
            if isinstance(error, PermissionError):
                self._on_unreadable(found, now)
            return error_reason(error)
        try:
            self._begin(file, now)
        except Unpacking:
            self._unpacking, self.is_unpacking = file, True
        except FILE_ERRORS as error:
            file.close()
            return error_reason(error)
        return ""

    def close(self) -> None:
        if self._unpacking is not None:
            self._unpacking.close()
            self._unpacking = None

    def _opened(self, named: Identity) -> OpenFile:
        """Return the open file of the path, reusing the file that is being unpacked. Raise OSError."""
        if self._unpacking is not None and identity_of(self._unpacking.stat()) != named:
            self.close()
        file, self._unpacking = self._unpacking, None
        return file or open_current(self._table.path)

    def _begin(self, file: OpenFile, now: float) -> None:
        """Decide where to start reading the file. Raise FILE_ERRORS, Unpacking."""
        generation, renamed = self._resumed(file), False
        if generation is None:
            generation = self._table.new(self._search.start_of(file), FileState.FOLLOWED)
            if self._had_files:
                inode = file.stat().st_ino
                # If the file has the inode of a missing generation, it was truncated, not renamed.
                renamed = not any(g.position.inode == inode and not g.position.compressed for g in self._table.missing)
                generation.count(rotations=renamed, truncations=not renamed)
            elif self._from_end:
                generation.position = position_at(file, generation.position, file.size())
        elif generation.position.offset and not generation.position.tail.length:
            # The file existed at the start, but could not be read until now.
            generation.position = position_at(file, generation.position, generation.position.offset)
        generation.may_be_copy = not (self._trusted or generation.position.offset)
        self._trusted = False
        # Nothing was read of the file, so it may be another file with a reused inode (B27).
        if (self._had_files or self._was_absent) and not generation.position.tail.length:
            self._search.search_unseen(now, renamed)
        self._had_files = True
        generation.position = structs.replace(generation.position, path=self._table.quoted, target=self._table.target())
        generation.open(file, self._source.lengths, now)
        if generation in self._table:
            self._table.transition(generation, Event.NAMED)
        else:
            self._table.add(generation)

    def _resumed(self, file: OpenFile) -> Generation | None:
        """Return the known generation that continues in this file, None if the file is new."""
        inode, size = file.stat().st_ino, file.size()
        # An inode may have had several generations. Those that were never read match any bytes, so they come last. Of
        # the others the newest comes first: an older one may have begun with the same bytes.
        closed = sorted((*self._table.missing, *self._table.done), key=last_of_inode, reverse=True)
        same = [g for g in closed if g.position.inode == inode and g.position.compressed == file.packed]
        for generation in same:
            position = generation.position
            # Of a file that was never read, only a smaller size reveals that it is another one, or was truncated.
            if (position.tail.length or size >= position.size) and matches(file, position):
                return generation
        for generation in same:
            if generation.restored and self._is_cut_short(file, generation.position):
                self._table.transition(generation, Event.FORGOTTEN)
                at_end = structs.replace(position_at(file, generation.position, file.size()), skip="")
                return self._table.new(at_end, FileState.FOLLOWED)
        return next((g for g in self._table.missing if self._was_moved(file, g)), None)

    def _is_cut_short(self, file: OpenFile, position: Position) -> bool:
        """Detect a power loss: the same file is shorter than what was posted, and no complete copy exists (C33)."""
        size = file.size()
        is_same = 0 < position.head.length <= size < position.offset and head_matches(file, position)
        return is_same and not self._search.is_copied(file, position)

    def _was_moved(self, file: OpenFile, generation: Generation) -> bool:
        """Detect a move to another disk while the exporter was down: another inode has all bytes that were read, and
        no other file has them.
        """
        position = generation.position
        is_whole = generation.restored and position.tail.length == FINGERPRINT and not position.compressed
        return is_whole and matches(file, position) and not self._search.is_copied(file, position)

    def _on_unreadable(self, found: os.stat_result, now: float) -> None:
        """Remember the identity of a file that may not be opened. It is read once that is permitted, even if it has
        another name by then (D42).
        """
        identity = identity_of(found)
        known = next((g for g in self._table.missing if g.position.identity == identity), None)
        if known is not None:
            self._search.renamed = False
            if not known.position.tail.length:  # else only its bytes can say whether it grew
                known.position = structs.replace(known.position, size=found.st_size, modified=found.st_mtime_ns)
            return
        offset = found.st_size if self._from_end and not self._had_files else 0
        position = structs.replace(
            first_position(found), offset=offset, size=found.st_size, target=self._table.target()
        )
        generation = self._table.new(position, FileState.MISSING)
        generation.must_post = True
        if self._had_files:
            generation.count(rotations=1)
            self._search.search_unseen(now, renamed=True)
        self._had_files = True
        self._table.add(generation)
        self._search.search_missing(now)
