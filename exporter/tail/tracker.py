"""Tracks the log of one path: returns windows of all its generations, each byte once, the oldest generation first.

Operations: `look` stats the path and detects a rotation; `window` returns the next bytes to post; `acknowledge` says
that they are posted. `generation` defines the states of a generation and the events that change them.

A generation is read from the moment the path names it. After a rotation it is read until it has not grown for 5 s. Its
descriptor stays open, so its new name does not matter. A generation that was truncated, or rotated while the exporter
was down, is searched for, and its unread bytes are counted as lost if it is not found in time. Files that had a rotated
name before the first look at the path are never read.
"""

import logging
import os
from collections.abc import Mapping

from msgspec import structs

from exporter.tail.file_opener import FileOpener
from exporter.tail.generation import Event, FileState, Generation
from exporter.tail.open_file import OpenFile, error_reason, identity_of
from exporter.tail.position import Position, Window
from exporter.tail.search import Search
from exporter.tail.source_context import SourceContext
from exporter.tail.table import GenerationTable
from exporter.tail.window_reader import WindowReader

_log = logging.getLogger(__name__)

#: How many done generations are remembered, in addition to those whose files still exist.
_REMEMBERED = 64


class Tracker:
    """The caller must call `look` before each call of `window`, and `acknowledge` after each window.

    Other threads may read these attributes: `lag` is the number of known bytes that are not posted, `backlog` the part
    of it that can be read now. `reads`: the path names a file that this tracker reads. `error` is the reason why it
    cannot be read, or "". `quiet_signature`: while `stat_signature` of the path equals it, the tracker has nothing to
    do. A `trusted` path existed when the source started, so its file is no copy.

    `absent_since` is a time in nanoseconds if an earlier process searched the path and read no file there. Then rotated
    files with a later mtime are new.
    """

    def __init__(
        self,
        path: str,
        source: SourceContext,
        stored: Mapping[str, Position] | None = None,
        from_end: bool = False,
        trusted: bool = False,
        absent_since: int | None = None,
    ) -> None:
        self.path, self.error = path, ""
        self.lag = self.backlog = 0
        self.reads = self.is_forgotten = False
        self.quiet_signature: tuple[int, ...] | None = None
        self._source, self._table = source, GenerationTable(path, source, stored or {})
        self._search = Search(self._table)
        self._opener = FileOpener(self._table, self._search, from_end, trusted, absent_since)
        self._reader = WindowReader(self._table, self._search)
        self._found: os.stat_result | None = None
        self._given: Window | None = None

    @property
    def has_more(self) -> bool:
        return self._reader.has_more

    @property
    def waits(self) -> bool:
        """Return whether reading waits until an older generation is found, or the search for it has ended."""
        return self._search.waits or self._reader.awaits_copy_check

    @property
    def is_gone(self) -> bool:
        """Return whether the path does not exist and all its generations have been read."""
        return self.error == "missing" and not self._table.opened and not self._table.missing

    @property
    def is_empty(self) -> bool:
        """Return whether the ledger has no position of this path any more."""
        return self._table.is_empty()

    def look(self, now: float) -> None:
        """Stat the path and detect a rotation (B13-B18, B27, B28, B31). An OSError is stored in `error`."""
        self._found = None
        self._reader.has_more = self._reader.awaits_copy_check = False
        if self.is_forgotten:
            return
        found, error = None, ""
        try:
            found = os.stat(self.path)
        except OSError as failure:
            error = error_reason(failure)
        self._search.look_stamp = self._source.folders.next_stamp()
        self._opener.first_look(found, error)
        followed = self._table.followed
        if found is not None and (followed is None or followed.position.identity != identity_of(found)):
            error, found = self._opener.open_named(found, now), None  # the file has grown since
            self._reader.has_more = self._opener.is_unpacking
        elif error == "missing" and followed is not None:
            self._search.search_unseen(now, renamed=True)
            self._opener.leave()
        for generation in self._table.opened:
            if not generation.position.offset:
                found = self._reader.measure(generation, found, now)
        self.error, self._found = error, found

    def window(self) -> Window | None:
        """Return the next window, None if there is nothing new. An OSError is stored in `error`."""
        now = self._source.clock()
        if not self.is_forgotten:
            self._search_files(now)
        self._reader.error = ""
        window = self._reader.next(now, self._found)
        self.error = self._reader.error or self.error
        # After a truncation or a read error, a copy may exist by now: it is read before an empty window is posted.
        if window is None and not self._reader.has_more:
            waits = self._search.waits and not self.is_forgotten
            if (known := self._table.next_to_post(waits)) is not None:
                name, position = self._source.config.name, known.position
                window = Window(name, known.key, position, closes=position.done)
        self._given = None if window is None else self._table.with_events(window)
        self._publish(now)
        return self._given

    def acknowledge(self, position: Position, consumed: int) -> None:
        """Store that the ledger has posted the last window. `position` is the position after the consumed bytes."""
        window, self._given = self._given, None
        assert window is not None, "only a window is acknowledged"
        generation = self._table.acknowledge(window, position, consumed)
        if generation is not None and generation.reader is not None and window.closes:
            # A file that was found again may be shorter than before it went missing.
            if (lost := generation.reader.expected - generation.position.size) > 0:
                generation.count(lost_bytes=lost)
            generation.position = structs.replace(generation.position, done=True)
            self._table.transition(generation, Event.FINISHED)
        self._publish(self._source.clock())

    def forget(self) -> None:
        """Drop all generations: the path is no longer tailed. The next windows only make the ledger forget them."""
        self.is_forgotten = True
        for generation in self._table:
            if generation.state is not FileState.DROPPED:
                self._table.transition(generation, Event.FORGOTTEN)
        self.close()

    def close(self) -> None:
        for generation in self._table:
            generation.close()
        self._search.close()
        self._opener.close()

    def __del__(self) -> None:
        if hasattr(self, "_given"):
            self.close()

    def _publish(self, now: float) -> None:
        followed, opened = self._table.followed, self._table.opened
        self.reads = followed is not None
        self.lag = sum(g.position.unread for g in (*opened, *self._table.missing))
        self.backlog = sum(g.position.unread for g in opened if not g.opened.idle)
        self.quiet_signature = None
        if followed is None or self.error or self._given is not None or not followed.opened.is_quiet(now):
            return
        if followed.posted and self._search.has_ended and self._table.is_alone(followed):
            self.quiet_signature = followed.opened.signature

    def _search_files(self, now: float) -> None:
        for generation, file in self._search.find(now, not self.error):
            try:
                self._insert(generation, file, now)
            except OSError:  # the next look finds the file again
                file.close()
                break
        self._reader.has_more |= self._search.is_unpacking
        for generation in self._search.not_found() if self._table.missing else ():
            self._lose(generation)
        for generation in self._table.done[:-_REMEMBERED]:
            if not self._search.is_present(generation.position.identity):
                self._table.transition(generation, Event.FORGOTTEN)

    def _insert(self, generation: Generation, file: OpenFile, now: float) -> None:
        """Open a generation that was found; it is read before the followed one. Ignore a file of another path."""
        is_missing = generation in self._table
        if not is_missing and self._source.index.was_read(file, identity_of(file.stat()), self._table):
            file.close()
            return
        generation.position = structs.replace(generation.position, path=self._table.quoted)
        generation.open(file, self._source.lengths, now)
        if is_missing:
            self._table.transition(generation, Event.FOUND)
        else:
            renamed = self._search.renamed
            generation.count(rotations=renamed, truncations=not renamed)
            self._table.add(generation)

    def _lose(self, generation: Generation) -> None:
        position = generation.position
        has_lost_lines = generation.restored or position.unread
        _log.log(
            logging.WARNING if has_lost_lines else logging.INFO,
            "a rotated file and its copies were not found: path=%s unread_bytes=%d; lines written to it that were not "
            "read yet are not counted (if rotated files are moved to another folder, name it in log_patterns)",
            self.path,
            position.unread,
        )
        generation.count(lost_bytes=position.unread)
        generation.must_post = True
        generation.position = structs.replace(position, done=True)
        self._table.transition(generation, Event.NOT_FOUND)
