"""The tracker of one path: windows of every generation of its log, each byte once, the oldest first.

Operations: `look` stats the path and detects a rotation; `window` gives the next bytes to post; `acknowledge` says
that they are posted. The states of a generation, and what changes them, are in `generation`.

A generation is read from the moment the path names it until 5 s after it last grew once the path has moved on. Its
descriptor stays open meanwhile, so its name does not matter. What is lost from sight while nobody looks (truncated,
or rotated while the exporter is down) is searched for, and counted as lost when it is not found in time. Nothing is
read that had a rotated name before the path was first seen.
"""

import logging
import os
from collections.abc import Mapping

from msgspec import structs

from exporter.tail.arrival import Arrivals
from exporter.tail.generation import Event, Generation, State
from exporter.tail.log import Log, Terms
from exporter.tail.open_file import identity, reason
from exporter.tail.position import Position, Window
from exporter.tail.search import Found
from exporter.tail.windows import Windows

_logger = logging.getLogger(__name__)

#: Generations remembered after they are done, besides those whose files are still there.
_REMEMBERED = 64


class Tracker:
    """After each window `acknowledge` must be called.

    `lag` is the number of bytes known and not posted, `backlog` those of them that can be read by now. `reads`: the
    path names a file that is read here. `error` says why it cannot be read. These may be asked for by other threads.
    `quiet_as` is how a file looks (as `looks_of` gives it) that needs no look before that changes. A `trusted` path was
    there when the source began: its file is no copy.
    """

    def __init__(
        self,
        path: str,
        terms: Terms,
        stored: Mapping[str, Position] | None = None,
        from_end: bool = False,
        trusted: bool = False,
    ) -> None:
        self.path, self.error = path, ""
        self.lag = self.backlog = 0
        self.reads = self.is_forgotten = False
        self.quiet_as: tuple[int, ...] | None = None
        self._log = Log(path, terms, stored or {})
        self._arrivals = Arrivals(self._log, from_end, trusted)
        self._windows = Windows(self._log)
        self._is_fresh = False
        self._found: os.stat_result | None = None
        self._given: Window | None = None

    @property
    def has_more(self) -> bool:
        """The next window may be asked for at once."""
        return self._log.has_more

    @property
    def waits(self) -> bool:
        """What there is to read waits until something older has turned up or cannot any more."""
        return self._log.search.waits or self._log.may_be_copy

    @property
    def is_gone(self) -> bool:
        """The path names nothing, and all that it named has been read."""
        return self.error == "missing" and not self._log.table.opened and not self._log.table.missing

    @property
    def is_empty(self) -> bool:
        """The ledger holds no position of this path any more."""
        return self._log.table.is_empty()

    def look(self, now: float) -> None:
        """Stats the path and detects a rotation (B13-B18, B27, B28, B31). Never raises OSError: see `error`."""
        self._is_fresh, self._found = True, None
        self._log.has_more = self._log.may_be_copy = False
        if self.is_forgotten:
            return
        found, error = None, ""
        try:
            found = os.stat(self.path)
        except OSError as trouble:
            error = reason(trouble)
        self._log.evidence = self._log.terms.folders.evidence()
        self._arrivals.first_look(found)
        followed = self._log.table.followed
        if found is not None and (followed is None or followed.position.identity != identity(found)):
            error, found = self._arrivals.arrive(found, now), None  # it has grown since
        elif error == "missing" and followed is not None:
            self._log.search_newer(now)
            self._arrivals.leave()
        for generation in self._log.table.opened:
            if not generation.position.offset:
                found = self._windows.measure(generation, found, now)
        self.error, self._found = error, found

    def window(self) -> Window | None:
        """The next window, None where there is nothing new. Never raises OSError: see `error`."""
        now = self._log.terms.clock()
        if not self._is_fresh:
            self.look(now)
        self._is_fresh = False
        self._given = self._next_window(now)
        self._publish(now)
        return self._given

    def acknowledge(self, position: Position, consumed: int) -> None:
        """The ledger has posted the window given last; `position` is the one behind the consumed bytes."""
        window, self._given = self._given, None
        if window is None:
            return
        generation = self._log.table.acknowledge(window, position, consumed)
        if generation is not None and generation.reader is not None and window.closes:
            if shortfall := generation.reader.shortfall(generation.position):
                generation.count(lost_bytes=shortfall)
            generation.position = structs.replace(generation.position, done=True)
            self._log.table.transition(generation, Event.FINISHED)
        self._publish(self._log.terms.clock())

    def forget(self) -> None:
        """Nothing of this path is needed any more: the next windows only say so."""
        self.is_forgotten = True
        for generation in self._log.table:
            if generation.state is not State.DROPPED:
                self._log.table.transition(generation, Event.FORGOTTEN)
        self.close()

    def close(self) -> None:
        for generation in self._log.table:
            generation.close()
        self._log.search.close()
        self._arrivals.close()

    def __del__(self) -> None:
        """Descriptors do not outlive the tracker."""
        if hasattr(self, "_given"):
            self.close()

    def _next_window(self, now: float) -> Window | None:
        if not self.is_forgotten:
            self._search_files(now)
        self._windows.error = ""
        window = self._windows.next(now, self._found)
        self.error = self._windows.error or self.error
        if window is not None:
            return self._log.table.with_events(window)
        # Where a file was truncated or cannot be read, its copy may be there by now, and is read before what follows.
        waits = self._log.search.waits and not self.is_forgotten
        known = None if self._log.has_more else self._log.table.announcement(waits)
        if known is None:
            return None
        empty = Window(self._log.terms.source, known.key, known.position, closes=known.position.done)
        return self._log.table.with_events(empty)

    def _publish(self, now: float) -> None:
        """For other threads."""
        followed, opened = self._log.table.followed, self._log.table.opened
        self.reads = followed is not None
        self.lag = sum(g.position.unread for g in (*opened, *self._log.table.missing))
        self.backlog = sum(g.position.unread for g in opened if not g.opened.idle)
        self.quiet_as = None
        if followed is None or self.error or self._given is not None or not followed.opened.is_quiet(now):
            return
        if followed.posted and self._log.search.is_over(now) and self._log.table.is_settled(followed):
            self.quiet_as = followed.opened.looks

    def _search_files(self, now: float) -> None:
        for found in self._log.search.find(now, self._log.evidence, not self.error):
            try:
                self._insert(found, now)
            except OSError:  # it is where it was, for the next look
                found[1].close()
                break
        self._log.has_more |= self._log.search.is_unpacking
        for generation in self._log.search.not_found(now) if self._log.table.missing else ():
            self._lose(generation)
        for generation in self._log.table.done[:-_REMEMBERED]:
            if not self._log.search.is_present(generation.position.identity):
                self._log.table.transition(generation, Event.FORGOTTEN)

    def _insert(self, found: Found, now: float) -> None:
        """Opens a generation that was found, before the followed one. A file of another path is left to that path."""
        generation, file, position = found
        is_new = generation is None
        if is_new and self._log.terms.index.was_read(identity(file.stat()), file, self._log.table):
            file.close()
            return
        if generation is None:
            generation = self._log.new(position, State.DRAINING)
        generation.position = structs.replace(position, path=self._log.quoted, number=generation.position.number)
        generation.open(file, self._log.terms.lengths, now)
        if is_new:
            renamed = self._log.search.renamed
            generation.count(rotations=renamed, truncations=not renamed)
            self._log.table.add(generation)
        else:
            self._log.table.transition(generation, Event.FOUND)

    def _lose(self, generation: Generation) -> None:
        position = generation.position
        blind = generation.restored or position.unread
        _logger.log(
            logging.WARNING if blind else logging.INFO,
            "not found again, nor a copy of it: path=%s unread_bytes=%d; lines written to it while nobody looked are "
            "not counted (were they moved to another folder, name it in log_patterns)",
            self.path,
            position.unread,
        )
        generation.count(lost_bytes=position.unread)
        generation.must_post = True
        generation.position = structs.replace(position, done=True)
        self._log.table.transition(generation, Event.NOT_FOUND)
