"""What a path names, and where reading begins in a file that it has come to name.

A file that the path names is one of these: a generation that is open already (it was renamed back), one that another
path of the source was reading, one that is missing or done (by inode and content, or by content alone where the log was
moved to another disk), or a new one, which is read from its beginning.
"""

import os

from msgspec import structs

from exporter.tail.fingerprint import head_matches, matches, position_at
from exporter.tail.generation import Event, Generation, State
from exporter.tail.log import Log
from exporter.tail.open_file import FILE_ERRORS, OpenFile, Unpacking, identity, open_current, reason
from exporter.tail.position import FINGERPRINT, Identity, Position


class Arrivals:
    """`from_end`: the file that is there at the start is not read, but for what is added. `trusted`: it is no copy."""

    def __init__(self, log: Log, from_end: bool, trusted: bool) -> None:
        self._log, self._from_end, self._trusted = log, from_end, trusted
        self._looked, self._awaited = log.had_files, False
        self._unpacking: OpenFile | None = None

    def first_look(self, found: os.stat_result | None) -> None:
        """Remembers what had a rotated name before the path was first seen: it is never read."""
        if self._looked:
            return
        self._looked, self._awaited = True, found is None
        modified = found.st_mtime_ns if found else 0
        for position in self._log.search.preexisting(self._log.terms.folders.polled_at, modified):
            generation = self._log.new(structs.replace(position, done=True), State.DONE)
            generation.must_post = True
            self._log.table.add(generation)

    def leave(self) -> None:
        """What was written before the path moved on is read before what follows."""
        if (followed := self._log.table.followed) is not None:
            followed.opened.reached_eof = False
            self._log.table.transition(followed, Event.LEFT)

    def arrive(self, found: os.stat_result, now: float) -> str:
        """The path names another file than before. Gives the trouble with it."""
        self.leave()
        named = identity(found)
        back = next((g for g in self._log.table.opened if g.position.identity == named), None)
        if back is not None:
            back.opened.closing = False
            self._log.table.transition(back, Event.NAMED)
            return ""
        other = self._log.terms.index.holder(named, self._log.table)
        if other is not None and other.state is State.FOLLOWED:
            return ""
        if other is not None:
            self._log.table.take(other)
            self._log.search.for_missing(now)
        try:
            file = self._opened(named)
        except OSError as error:
            if isinstance(error, PermissionError):
                self._on_unreadable(found, now)
            return reason(error)
        try:
            self._begin(file, now)
        except Unpacking:
            self._unpacking, self._log.has_more = file, True
        except FILE_ERRORS as error:
            file.close()
            return reason(error)
        return ""

    def close(self) -> None:
        if self._unpacking is not None:
            self._unpacking.close()
            self._unpacking = None

    def _opened(self, named: Identity) -> OpenFile:
        """The path's file; the one that is being unpacked, where it is that. Raises OSError."""
        file, self._unpacking = self._unpacking, None
        if file is not None and identity(file.stat()) == named:
            return file
        if file is not None:
            file.close()
        return open_current(self._log.path)

    def _begin(self, file: OpenFile, now: float) -> None:
        """Where reading of a file begins that the path has come to name. Raises FILE_ERRORS, Unpacking."""
        generation, renamed = self._resumed(file), False
        is_new = generation is None
        if generation is None:
            generation = self._log.new(self._log.search.start_of(file), State.FOLLOWED)
            if self._log.had_files:
                renamed = self._count_arrival(generation, file)
            elif self._from_end:
                generation.position = position_at(file, generation.position, file.size())
        elif generation.position.offset and not generation.position.tail.length:
            # It was there at the start, and is readable only now.
            generation.position = position_at(file, generation.position, generation.position.offset)
        generation.unproven = not (self._trusted or generation.position.offset)
        self._trusted = False
        # Nothing was read of it, so it may be another file under a reused inode (B27).
        if (self._log.had_files or self._awaited) and not generation.position.tail.length:
            self._log.search_newer(now, renamed)
        self._log.had_files = True
        generation.position = structs.replace(generation.position, path=self._log.quoted, target=self._log.target())
        generation.open(file, self._log.terms.lengths, now)
        if is_new or generation not in self._log.table:
            self._log.table.add(generation)
        else:
            self._log.table.transition(generation, Event.NAMED)

    def _resumed(self, file: OpenFile) -> Generation | None:
        """The generation that goes on in the file that the path names."""
        inode = file.stat().st_ino
        for generation in (*self._log.table.missing, *self._log.table.done):
            position = generation.position
            if position.inode != inode or position.compressed != file.packed:
                continue
            if not position.tail.length and file.size() < position.size:
                continue  # another file under its inode, or truncated
            if matches(file, position):
                return generation
            if generation.restored and self._is_cut_short(file, position):
                self._log.table.transition(generation, Event.FORGOTTEN)
                at_end = structs.replace(position_at(file, position, file.size()), skip="")
                return self._log.new(at_end, State.FOLLOWED)
        return next((g for g in self._log.table.missing if self._was_moved(file, g)), None)

    def _is_cut_short(self, file: OpenFile, position: Position) -> bool:
        """After a power loss: the same file, shorter than what was posted, and nowhere a copy of it all (C33)."""
        size = file.size()
        is_same = 0 < position.head.length <= size < position.offset and head_matches(file, position)
        return is_same and not self._log.search.is_copied(self._log.evidence, position, identity(file.stat()))

    def _was_moved(self, file: OpenFile, generation: Generation) -> bool:
        """While the exporter was down: all that was read, under another inode, and nowhere else (another disk)."""
        position = generation.position
        is_whole = generation.restored and position.tail.length == FINGERPRINT and not position.compressed
        return (
            is_whole
            and matches(file, position)
            and not self._log.search.is_copied(self._log.evidence, position, identity(file.stat()))
        )

    def _count_arrival(self, generation: Generation, file: OpenFile) -> bool:
        """A new file after others. Whether it is another one, rather than the old one truncated."""
        inode = file.stat().st_ino
        truncated = any(g.position.inode == inode and not g.position.compressed for g in self._log.table.missing)
        generation.count(rotations=not truncated, truncations=truncated)
        return not truncated

    def _on_unreadable(self, found: os.stat_result, now: float) -> None:
        """The path names a file that must not be opened: its identity is known, and it is read as soon as it can be,
        wherever it is by then (D42).
        """
        held = identity(found)
        known = next((g for g in self._log.table.missing if g.position.identity == held), None)
        if known is not None:
            self._log.search.renamed = False
            if not known.position.tail.length:  # of one that was read, only its bytes say whether it grew
                known.position = structs.replace(known.position, size=found.st_size, modified=found.st_mtime_ns)
            return
        generation = self._log.new(
            Position(
                path=self._log.quoted,
                number=0,
                device=held[0],
                inode=held[1],
                offset=found.st_size if self._from_end and not self._log.had_files else 0,
                size=found.st_size,
                modified=found.st_mtime_ns,
                target=self._log.target(),
            ),
            State.MISSING,
        )
        generation.must_post = True
        if self._log.had_files:
            generation.count(rotations=1)
            self._log.search_newer(now)
        self._log.had_files = True
        self._log.table.add(generation)
        self._log.search.for_missing(now)
