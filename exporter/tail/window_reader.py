"""Reads windows of the open files of one path, and handles truncations, read errors and copies."""

import logging
import os

from msgspec import structs

from exporter.tail.file_reader import Truncated
from exporter.tail.fingerprint import position_at, start_of
from exporter.tail.generation import Event, FileState, Generation
from exporter.tail.open_file import FILE_ERRORS, Unpacking, error_reason, identity_of, open_current
from exporter.tail.position import NO_EVENTS, PREFIX, Position, Window
from exporter.tail.search import STILL, Search
from exporter.tail.table import GenerationTable

_log = logging.getLogger(__name__)

#: Seconds after its last growth for which a rotated file stays open.
GRACE = 5.0

#: The same if the path names no new file: the file may get its old name back (B16, B31).
_ORPHANED = 3600.0


class WindowReader:
    """Chooses which open file of a path is read next.

    `error` is the reason of the last failed read. The tracker clears it before each window, and the flags before each
    look. `has_more`: the next window may be requested at once. `awaits_copy_check`: a file is not read until the tail
    knows that it is no copy.
    """

    def __init__(self, table: GenerationTable, search: Search) -> None:
        self.error = ""
        self.has_more = self.awaits_copy_check = False
        self._source, self._table, self._search, self._turn = table.source, table, search, 0

    def next(self, now: float, found: os.stat_result | None) -> Window | None:
        """Return the next window, None if there is nothing to read.

        `found` is the stat result of the followed file, None if it is unknown.
        """
        followed = self._table.followed
        for generation in self._in_turn():
            window = self._window_of(generation, now, found if generation is followed else None)
            if window is not None:
                return window
        return None

    def measure(self, generation: Generation, found: os.stat_result | None, now: float) -> os.stat_result | None:
        """Check the size of a file that was never read: only a smaller size reveals that it was truncated.

        The check must come before the search, which then finds the copy (B17, B23). `found` is the stat result of the
        followed file. Return it, or None if it is no longer valid.
        """
        is_followed, changed_at = generation is self._table.followed, generation.opened.changed_at
        try:
            generation.position, _ = generation.opened.observe(generation.position, now, found if is_followed else None)
        except (*FILE_ERRORS, Unpacking):
            return found
        except Truncated:
            self._on_truncation(generation, now)
            return None if is_followed else found  # the file has grown since
        if is_followed and generation.opened.changed_at != changed_at:
            self._search_copy(now)
        return found

    def _in_turn(self) -> list[Generation]:
        """Return the open generations up to the first one that was not read to its end, in rotating order.

        While an older generation may still be found, only generations that the ledger knows are returned (B17).
        """
        ready: list[Generation] = []
        for generation in self._table.opened:
            if not generation.posted and self._search.waits:
                break
            ready.append(generation)
            if not generation.opened.reached_eof:
                break
        self._turn = (self._turn + 1) % max(1, len(ready))
        return ready[self._turn :] + ready[: self._turn]

    def _window_of(self, generation: Generation, now: float, found: os.stat_result | None) -> Window | None:
        """Read the next window of one generation. `found` is the stat result of its file, None if it is unknown."""
        reader, window = generation.opened, None
        try:
            generation.position, cut = reader.observe(generation.position, now, found)
            if generation.may_be_copy and not self._is_original(generation, now):
                return None
            reader.closing = self._is_finished(generation, now)
            if not reader.is_quiet(now):
                window = reader.read(self._source.config.name, generation.key, generation.position)
            if not generation.position.offset and generation.state is FileState.FOLLOWED and reader.has_changed():
                self._search_copy(now)
        except Truncated:
            self._on_truncation(generation, now)
        except Unpacking:
            self.has_more = True
        except FILE_ERRORS as error:
            self._on_read_error(generation, error, now)
        else:
            if cut:  # counted after the read, which has verified the bytes before the offset
                generation.count(truncations=1, lost_bytes=cut)
            if found is not None and found.st_mtime_ns != generation.position.modified:
                self._raise_modified(generation, found.st_mtime_ns)
        return window

    def _raise_modified(self, generation: Generation, modified: int) -> None:
        """Raise the low-water mtime, if the ledger has everything that is older than the followed generation."""
        older = (g for g in self._table.opened if g is not self._table.followed)
        if not self._search.waits and all(g.posted for g in older):
            generation.position = structs.replace(generation.position, modified=modified)

    def _search_copy(self, now: float) -> None:
        """Search for the copy of a never-read file that has changed: it may have been truncated and filled again."""
        self._search.search_unseen(now, renamed=False, modified=0)

    def _is_finished(self, generation: Generation, now: float) -> bool:
        """Return whether a rotated file was read to its end and has not grown for the grace period (B14, B16)."""
        if generation.state is FileState.FOLLOWED or not generation.opened.reached_eof:
            return False
        followed = self._table.followed is not None or not generation.opened.links
        return now - generation.opened.grown_at >= (GRACE if followed else _ORPHANED)

    def _on_truncation(self, generation: Generation, now: float) -> None:
        """Start a new generation in the same file, which was truncated or overwritten (B19-B24, B27).

        The old generation is missing: its unread bytes may be in the copy that the rotator made.
        """
        reader, known = generation.opened, generation.position
        start = self._search.start_of(reader.file)
        if known.offset:  # before the first read, there is nothing that verifies the size
            known = structs.replace(known, size=reader.verified_size)
        try:
            fresh = self._begin_anew(generation, structs.replace(start, target=known.target), Event.LOST, now)
        except OSError as error:
            self._on_read_error(generation, error, now)
            return
        fresh.count(truncations=1)
        generation.position = known
        self._search.search_missing(now)
        self._search.search_unseen(now, renamed=False, modified=known.modified)

    def _begin_anew(self, generation: Generation, position: Position, event: Event, now: float) -> Generation:
        """Continue in the same open file as a new generation, which takes the place of this one. Raise OSError."""
        fresh = self._table.new(position, generation.state)
        fresh.open(generation.opened.file, self._source.lengths, now)
        generation.reader = None  # the open file belongs to `fresh` now
        self._table.add(fresh, instead_of=generation)
        self._table.transition(generation, event)
        self.has_more = True
        return fresh

    def _on_read_error(self, generation: Generation, error: Exception, now: float) -> None:
        """Reopen a file whose descriptor became stale while its name is still valid (D43)."""
        self.error = error_reason(error)
        if generation.state is not FileState.FOLLOWED:
            self._table.transition(generation, Event.LOST)
            self._search.search_missing(now)
            self.has_more = True
            return
        try:
            file = open_current(self._table.path)
        except OSError:
            return
        if identity_of(file.stat()) == generation.position.identity:
            reader = generation.opened
            reader.file.close()
            reader.file, reader.signature = file, None
        else:
            file.close()

    def _is_original(self, generation: Generation, now: float) -> bool:
        """Return whether the file is no copy of another path's file. Copied bytes are skipped (B29)."""
        reader, index = generation.opened, self._source.index
        size = reader.file.size()
        if index.is_open(generation.position.identity, self._table):
            self._table.transition(generation, Event.FORGOTTEN)  # another path was missing this file
            self.has_more = True
            return False
        copied = index.copied_bytes(reader.file, size, self._table)
        if copied is None or (copied == size and now - reader.changed_at < STILL):
            self.awaits_copy_check = bool(size)
            return not size
        if size >= PREFIX or copied:
            generation.may_be_copy = False
        if copied:
            self._skip_copy(generation, copied, now)
        return not copied

    def _skip_copy(self, generation: Generation, copied: int, now: float) -> None:
        """Continue after the copied bytes, as a new generation, because the ledger may have the start of this one."""
        file = generation.opened.file
        fresh = self._begin_anew(generation, position_at(file, start_of(file), copied), Event.FORGOTTEN, now)
        fresh.events, generation.events = generation.events, NO_EVENTS
        _log.info("skipped bytes that are a copy of another file: path=%s bytes=%d", self._table.path, copied)
