"""The windows of one path's open files, and what is noticed while they are read: truncations, errors, copies."""

import logging
import os

from msgspec import structs

from exporter.tail.copies import copied_bytes
from exporter.tail.fingerprint import position_at, start_of
from exporter.tail.generation import Event, Generation, State
from exporter.tail.log import Log
from exporter.tail.open_file import FILE_ERRORS, Unpacking, identity, open_current, reason
from exporter.tail.position import PREFIX, Fingerprint, Window
from exporter.tail.reader import Truncated
from exporter.tail.search import STILL

_logger = logging.getLogger(__name__)

#: Seconds that a file which the path no longer names stays open after it last grew.
GRACE = 5.0

#: The same where no other file has followed: the file may come back under its old name (B16, B31).
_ORPHANED = 3600.0


class Windows:
    """`error` is the reason of the last read that failed, "" since the last look."""

    def __init__(self, log: Log) -> None:
        self.error = ""
        self._log, self._turn = log, 0

    def next(self, now: float, found: os.stat_result | None) -> Window | None:
        """None where nothing is to be read. `found` is what stat says of the followed file, where that is known."""
        followed = self._log.table.followed
        for generation in self._in_turn():
            window = self._window_of(generation, now, found if generation is followed else None)
            if window is not None:
                return window
        return None

    def measure(self, generation: Generation, found: os.stat_result | None, now: float) -> os.stat_result | None:
        """Before the first read, only a smaller size reveals a truncation. It is noticed before the copy is searched
        for (B17, B23). Takes and gives what stat says of the followed file, where that is still known.
        """
        is_followed, changed_at = generation is self._log.table.followed, generation.opened.changed_at
        try:
            generation.position, _ = generation.opened.observe(generation.position, now, found if is_followed else None)
        except (*FILE_ERRORS, Unpacking):
            return found
        except Truncated:
            self._truncated(generation, now)
            return None if is_followed else found  # it has grown since
        if is_followed and generation.opened.changed_at != changed_at:
            self._log.search.for_newer(now, 0, renamed=False)  # it may have been filled and truncated again
        return found

    def _in_turn(self) -> list[Generation]:
        """The open generations up to the first that was not read to its end, beginning with another one each time.
        None that the ledger does not know is among them while something older may turn up (B17).
        """
        ready: list[Generation] = []
        for generation in self._log.table.opened:
            if not generation.posted and self._log.search.waits:
                break
            ready.append(generation)
            if not generation.opened.reached_eof:
                break
        self._turn = (self._turn + 1) % max(1, len(ready))
        return ready[self._turn :] + ready[: self._turn]

    def _window_of(self, generation: Generation, now: float, found: os.stat_result | None) -> Window | None:
        """`found` is what stat says of the file, where that is known."""
        reader, window = generation.opened, None
        try:
            generation.position, cut = reader.observe(generation.position, now, found)
            if generation.unproven and not self._is_proven(generation, now):
                return None
            reader.closing = self._is_over(generation, now)
            window = None if reader.is_quiet(now) else generation.window(self._log.terms.source)
        except Truncated:
            self._truncated(generation, now)
        except Unpacking:
            self._log.has_more = True
        except FILE_ERRORS as error:
            self._on_read_error(generation, error, now)
        else:
            if cut:  # only now: the bytes before the offset are still those that were read
                generation.count(truncations=1, lost_bytes=cut)
            if found is not None and self._is_complete():
                generation.raise_low_water(found.st_mtime_ns)
        return window

    def _is_complete(self) -> bool:
        """Everything older than the followed generation is in the ledger."""
        older = (g for g in self._log.table.opened if g is not self._log.table.followed)
        return not self._log.search.waits and all(g.posted for g in older)

    def _is_over(self, generation: Generation, now: float) -> bool:
        """Rotated, at end of file, and unchanged for the grace period (B14, B16)."""
        if generation.state is State.FOLLOWED or not generation.opened.reached_eof:
            return False
        followed = self._log.table.followed is not None or not generation.opened.links
        return now - generation.opened.grown_at >= (GRACE if followed else _ORPHANED)

    def _truncated(self, generation: Generation, now: float) -> None:
        """The file was truncated or overwritten (B19-B24, B27). Unread bytes may be in the copy that a rotator made."""
        file, known = generation.opened.file, generation.opened.last_seen(generation.position)
        fresh = self._log.new(structs.replace(self._log.search.start_of(file), target=known.target), generation.state)
        try:
            fresh.open(file, self._log.terms.lengths, now)
        except OSError as error:
            self._on_read_error(generation, error, now)
            return
        fresh.count(truncations=1)
        generation.take_file()
        generation.position = known
        self._log.table.add(fresh, instead_of=generation)
        self._log.table.transition(generation, Event.LOST)
        self._log.search.for_missing(now)
        self._log.search.for_newer(now, known.modified, renamed=False)
        self._log.has_more = True

    def _on_read_error(self, generation: Generation, error: Exception, now: float) -> None:
        """A descriptor may have gone stale where the name is still good (D43)."""
        self.error = reason(error)
        if generation.state is not State.FOLLOWED:
            self._log.table.transition(generation, Event.LOST)
            self._log.search.for_missing(now)
            self._log.has_more = True
            return
        try:
            file = open_current(self._log.path)
        except OSError:
            return
        if identity(file.stat()) == generation.position.identity:
            generation.opened.replace_file(file)
        else:
            file.close()

    def _is_proven(self, generation: Generation, now: float) -> bool:
        """Whether a file's bytes are its own. Those that are a copy of another path's are passed over (B29)."""
        reader = generation.opened
        size = reader.file.size()
        if self._log.terms.index.is_read(generation.position.identity, self._log.table):
            self._log.table.transition(generation, Event.FORGOTTEN)  # another path has found it to be what it missed
            self._log.has_more = True
            return False
        prefix = Fingerprint.of(reader.file.read(0, PREFIX))
        others = self._log.terms.index.alike(prefix.digest, self._log.table) if prefix.length == PREFIX else []
        copied = copied_bytes(reader.file, size, self._log.path, others) if others else 0
        if copied is None or (copied == size and now - reader.changed_at < STILL):
            self._log.may_be_copy = bool(size)
            return not size
        if size >= PREFIX or copied:
            generation.unproven = False
        if copied:
            self._skip_copy(generation, copied, now)
        return not copied

    def _skip_copy(self, generation: Generation, copied: int, now: float) -> None:
        """Goes on behind the copied bytes, as a new generation: the ledger may have the beginning of this one."""
        file = generation.opened.file
        fresh = self._log.new(position_at(file, start_of(file), copied), generation.state)
        fresh.open(file, self._log.terms.lengths, now)
        fresh.events, generation.events = generation.events, fresh.events
        generation.take_file()
        self._log.table.add(fresh, instead_of=generation)
        self._log.table.transition(generation, Event.FORGOTTEN)
        self._log.has_more = True
        _logger.info("is a copy of another file, and not counted again: path=%s bytes=%d", self._log.path, copied)
