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
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, structs

from exporter.tail.contents import Contents
from exporter.tail.copies import copied_bytes
from exporter.tail.fingerprint import head_matches, matches, position_at, start_of
from exporter.tail.folders import Folders
from exporter.tail.generation import Event, Generation, State
from exporter.tail.open_file import FILE_ERRORS, OpenFile, Unpacking, identity, open_current, reason
from exporter.tail.position import FINGERPRINT, PREFIX, Fingerprint, Position, Window, encoded
from exporter.tail.reader import Lengths, Truncated
from exporter.tail.search import STILL, Found, Search
from exporter.tail.search_folders import SearchFolders
from exporter.tail.table import Generations, Index, positions

_log = logging.getLogger(__name__)

#: Seconds that a file which the path no longer names stays open after it last grew.
GRACE = 5.0

#: The same where no other file has followed: the file may come back under its old name (B16, B31).
_ORPHANED = 3600.0

#: Generations remembered after they are done, besides those whose files are still there.
_REMEMBERED = 64


class Terms(Struct, frozen=True):
    """What the trackers of one source share: `clock` is monotonic, in seconds, `numbers` gives each generation one
    that is unique within the source.
    """

    source: str
    clock: Callable[[], float]
    numbers: Iterator[int]
    folders: Folders
    index: Index
    contents: Contents
    lengths: Lengths = Lengths()
    log_patterns: tuple[str, ...] = ()


class Tracker:
    """After each window `acknowledge` must be called.

    `lag` is the number of bytes known and not posted, `backlog` those of them that can be read by now. `reads`: the
    path names a file that is read here. `error` says why it cannot be read. These may be asked for by other threads.
    `has_more`: the next window may be asked for at once. `quiet_as` is how a file looks (as `looks_of` gives it) that
    needs no look before that changes. A `trusted` path was there when the source began: its file is no copy.
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
        self.reads = self.is_forgotten = self.has_more = False
        self.quiet_as: tuple[int, ...] | None = None
        self._terms, self._from_end, self._trusted, self._quoted = terms, from_end, trusted, encoded(path)
        self._table = Generations(terms.index)
        for key, position in (stored or {}).items():
            state = State.DONE if position.done else State.MISSING
            self._table.add(Generation(key, position, state, restored=not position.done))
        folders = SearchFolders(path, terms.log_patterns, terms.folders, terms.contents)
        self._search = Search(self._table, terms.index, folders)
        self._had_files = self._looked = bool(stored)
        self._awaited = self._is_fresh = self._may_be_copy = False
        self._found: os.stat_result | None = None
        self._evidence = self._turn = 0
        self._arriving: OpenFile | None = None
        self._given: Window | None = None

    @property
    def waits(self) -> bool:
        """What there is to read waits until something older has turned up or cannot any more."""
        return self._search.waits or self._may_be_copy

    @property
    def is_gone(self) -> bool:
        """The path names nothing, and all that it named has been read."""
        return self.error == "missing" and not self._table.opened and not self._table.missing

    @property
    def is_empty(self) -> bool:
        """The ledger holds no position of this path any more."""
        return self._table.is_empty()

    def look(self, now: float) -> None:
        """Stats the path and detects a rotation (B13-B18, B27, B28, B31). Never raises OSError: see `error`."""
        self._is_fresh, self._found = True, None
        if self.is_forgotten:
            return
        found, error = None, ""
        try:
            found = os.stat(self.path)
        except OSError as trouble:
            error = reason(trouble)
        self._evidence = self._terms.folders.evidence()
        if not self._looked:
            self._looked, self._awaited = True, found is None
            self._remember_preexisting(found)
        followed = self._table.followed
        if found is not None and (followed is None or followed.position.identity != identity(found)):
            error, found = self._arrive(found, now), None  # it has grown since
        elif error == "missing" and followed is not None:
            self._search_newer(now)
            self._leave()
        for generation in self._table.opened:
            if not generation.position.offset:
                found = self._measure(generation, found, now)
        self.error, self._found = error, found

    def window(self) -> Window | None:
        """The next window, None where there is nothing new. Never raises OSError: see `error`."""
        now = self._terms.clock()
        if not self._is_fresh:
            self.look(now)
        self._is_fresh = self.has_more = self._may_be_copy = False
        self._given = self._next_window(now)
        self._publish(now)
        return self._given

    def acknowledge(self, position: Position, consumed: int) -> None:
        """The ledger has posted the window given last; `position` is the one behind the consumed bytes."""
        window, self._given = self._given, None
        if window is None:
            return
        generation = self._table.acknowledge(window, position, consumed)
        if generation is not None and generation.reader is not None and window.closes:
            if shortfall := generation.reader.shortfall(generation.position):
                generation.count(lost_bytes=shortfall)
            generation.position = structs.replace(generation.position, done=True)
            self._table.transition(generation, Event.FINISHED)
        self._publish(self._terms.clock())

    def forget(self) -> None:
        """Nothing of this path is needed any more: the next windows only say so."""
        self.is_forgotten = True
        for generation in self._table:
            if generation.state is not State.DROPPED:
                self._table.transition(generation, Event.FORGOTTEN)
        self.close()

    def close(self) -> None:
        for generation in self._table:
            generation.close()
        self._search.close()
        if self._arriving is not None:
            self._arriving.close()
            self._arriving = None

    def __del__(self) -> None:
        """Descriptors do not outlive the tracker."""
        if hasattr(self, "_given"):
            self.close()

    def _next_window(self, now: float) -> Window | None:
        if not self.is_forgotten:
            self._search_files(now)
        followed = self._table.followed
        for generation in self._in_turn():
            window = self._window_of(generation, now, self._found if generation is followed else None)
            if window is not None:
                return self._table.with_events(window)
        # Where a file was truncated or cannot be read, its copy may be there by now, and is read before what follows.
        waits = self._search.waits and not self.is_forgotten
        known = None if self.has_more else self._table.announcement(waits)
        if known is None:
            return None
        closes = known.position.done
        return self._table.with_events(Window(self._terms.source, known.key, known.position, closes=closes))

    def _in_turn(self) -> list[Generation]:
        """The open generations up to the first that was not read to its end, beginning with another one each time.
        None that the ledger does not know is among them while something older may turn up (B17).
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
        """`found` is what stat says of the file, where that is known."""
        reader, window = generation.opened, None
        try:
            generation.position, cut = reader.observe(generation.position, now, found)
            if generation.unproven and not self._is_proven(generation, now):
                return None
            reader.closing = self._is_over(generation, now)
            window = None if reader.is_quiet(now) else generation.window(self._terms.source)
        except Truncated:
            self._truncated(generation, now)
        except Unpacking:
            self.has_more = True
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
        older = (g for g in self._table.opened if g is not self._table.followed)
        return not self._search.waits and all(g.posted for g in older)

    def _is_over(self, generation: Generation, now: float) -> bool:
        """Rotated, at end of file, and unchanged for the grace period (B14, B16)."""
        if generation.state is State.FOLLOWED or not generation.opened.reached_eof:
            return False
        followed = self._table.followed is not None or not generation.opened.links
        return now - generation.opened.grown_at >= (GRACE if followed else _ORPHANED)

    def _publish(self, now: float) -> None:
        """For other threads."""
        followed, opened = self._table.followed, self._table.opened
        self.reads = followed is not None
        self.lag = sum(g.position.unread for g in (*opened, *self._table.missing))
        self.backlog = sum(g.position.unread for g in opened if not g.opened.idle)
        self.quiet_as = None
        if followed is None or self.error or self._given is not None or not followed.opened.is_quiet(now):
            return
        if followed.posted and self._search.is_over(now) and self._table.is_settled(followed):
            self.quiet_as = followed.opened.looks

    # What the path names.

    def _remember_preexisting(self, found: os.stat_result | None) -> None:
        modified = found.st_mtime_ns if found else 0
        for position in self._search.preexisting(self._terms.folders.polled_at, modified):
            generation = self._new(structs.replace(position, done=True), State.DONE)
            generation.must_post = True
            self._table.add(generation)

    def _leave(self) -> None:
        """What was written before the path moved on is read before what follows."""
        if (followed := self._table.followed) is not None:
            followed.opened.reached_eof = False
            self._table.transition(followed, Event.LEFT)

    def _arrive(self, found: os.stat_result, now: float) -> str:
        """The path names another file than before. Gives the trouble with it."""
        self._leave()
        named = identity(found)
        back = next((g for g in self._table.opened if g.position.identity == named), None)
        if back is not None:
            back.opened.closing = False
            self._table.transition(back, Event.NAMED)
            return ""
        other = self._terms.index.holder(named, self._table)
        if other is not None and other.state is State.FOLLOWED:
            return ""
        if other is not None:
            self._table.take(other)
            self._search.for_missing(now)
        try:
            file = self._opened(named)
        except OSError as error:
            if isinstance(error, PermissionError):
                self._on_unreadable(found, now)
            return reason(error)
        try:
            self._begin(file, now)
        except Unpacking:
            self._arriving, self.has_more = file, True
        except FILE_ERRORS as error:
            file.close()
            return reason(error)
        return ""

    def _opened(self, named: tuple[int, int]) -> OpenFile:
        """The path's file; the one that is being unpacked, where it is that. Raises OSError."""
        file, self._arriving = self._arriving, None
        if file is not None and identity(file.stat()) == named:
            return file
        if file is not None:
            file.close()
        return open_current(self.path)

    def _begin(self, file: OpenFile, now: float) -> None:
        """Where reading of a file begins that the path has come to name. Raises FILE_ERRORS, Unpacking."""
        generation, renamed = self._resumed(file), False
        is_new = generation is None
        if generation is None:
            generation = self._new(self._search.start_of(file), State.FOLLOWED)
            if self._had_files:
                renamed = self._count_arrival(generation, file)
            elif self._from_end:
                generation.position = position_at(file, generation.position, file.size())
        elif generation.position.offset and not generation.position.tail.length:
            # It was there at the start, and is readable only now.
            generation.position = position_at(file, generation.position, generation.position.offset)
        generation.unproven = not (self._trusted or generation.position.offset)
        self._trusted = False
        # Nothing was read of it, so it may be another file under a reused inode (B27).
        if (self._had_files or self._awaited) and not generation.position.tail.length:
            self._search_newer(now, renamed)
        self._had_files = True
        generation.position = structs.replace(generation.position, path=self._quoted, target=self._target())
        generation.open(file, self._terms.lengths, now)
        if is_new or generation not in self._table:
            self._table.add(generation)
        else:
            self._table.transition(generation, Event.NAMED)

    def _resumed(self, file: OpenFile) -> Generation | None:
        """The generation that goes on in the file that the path names."""
        inode = file.stat().st_ino
        for generation in (*self._table.missing, *self._table.done):
            position = generation.position
            if position.inode != inode or position.compressed != file.packed:
                continue
            if not position.tail.length and file.size() < position.size:
                continue  # another file under its inode, or truncated
            if matches(file, position):
                return generation
            if generation.restored and self._is_cut_short(file, position):
                self._table.transition(generation, Event.FORGOTTEN)
                at_end = structs.replace(position_at(file, position, file.size()), skip="")
                return self._new(at_end, State.FOLLOWED)
        return next((g for g in self._table.missing if self._was_moved(file, g)), None)

    def _is_cut_short(self, file: OpenFile, position: Position) -> bool:
        """After a power loss: the same file, shorter than what was posted, and nowhere a copy of it all (C33)."""
        size = file.size()
        is_same = 0 < position.head.length <= size < position.offset and head_matches(file, position)
        return is_same and not self._search.is_copied(self._evidence, position, identity(file.stat()))

    def _was_moved(self, file: OpenFile, generation: Generation) -> bool:
        """While the exporter was down: all that was read, under another inode, and nowhere else (another disk)."""
        position = generation.position
        is_whole = generation.restored and position.tail.length == FINGERPRINT and not position.compressed
        return (
            is_whole
            and matches(file, position)
            and not self._search.is_copied(self._evidence, position, identity(file.stat()))
        )

    def _count_arrival(self, generation: Generation, file: OpenFile) -> bool:
        """A new file after others. Whether it is another one, rather than the old one truncated."""
        inode = file.stat().st_ino
        truncated = any(g.position.inode == inode and not g.position.compressed for g in self._table.missing)
        generation.count(rotations=not truncated, truncations=truncated)
        return not truncated

    def _on_unreadable(self, found: os.stat_result, now: float) -> None:
        """The path names a file that must not be opened: its identity is known, and it is read as soon as it can be,
        wherever it is by then (D42).
        """
        held = identity(found)
        known = next((g for g in self._table.missing if g.position.identity == held), None)
        if known is not None:
            self._search.renamed = False
            if not known.position.tail.length:  # of one that was read, only its bytes say whether it grew
                known.position = structs.replace(known.position, size=found.st_size, modified=found.st_mtime_ns)
            return
        generation = self._new(
            Position(
                path=self._quoted,
                number=0,
                device=held[0],
                inode=held[1],
                offset=found.st_size if self._from_end and not self._had_files else 0,
                size=found.st_size,
                modified=found.st_mtime_ns,
                target=self._target(),
            ),
            State.MISSING,
        )
        generation.must_post = True
        if self._had_files:
            generation.count(rotations=1)
            self._search_newer(now)
        self._had_files = True
        self._table.add(generation)
        self._search.for_missing(now)

    def _target(self) -> str:
        real = self._terms.folders.real(self.path)
        return "" if real == os.path.abspath(self.path) else encoded(real)

    def _new(self, position: Position, state: State) -> Generation:
        number = next(self._terms.numbers)
        position = structs.replace(position, path=self._quoted, number=number)
        return Generation(f"{self._quoted}#{number}", position, state)

    # What happens to open files.

    def _measure(self, generation: Generation, found: os.stat_result | None, now: float) -> os.stat_result | None:
        """Before the first read, only a smaller size reveals a truncation. It is noticed before the copy is searched
        for (B17, B23). Takes and gives what stat says of the followed file, where that is still known.
        """
        is_followed, changed_at = generation is self._table.followed, generation.opened.changed_at
        try:
            generation.position, _ = generation.opened.observe(generation.position, now, found if is_followed else None)
        except (*FILE_ERRORS, Unpacking):
            return found
        except Truncated:
            self._truncated(generation, now)
            return None if is_followed else found  # it has grown since
        if is_followed and generation.opened.changed_at != changed_at:
            self._search.for_newer(now, 0, renamed=False)  # it may have been filled and truncated again
        return found

    def _truncated(self, generation: Generation, now: float) -> None:
        """The file was truncated or overwritten (B19-B24, B27). Unread bytes may be in the copy that a rotator made."""
        file, known = generation.opened.file, generation.opened.last_seen(generation.position)
        fresh = self._new(structs.replace(self._search.start_of(file), target=known.target), generation.state)
        fresh.open(file, self._terms.lengths, now)
        fresh.count(truncations=1)
        generation.take_file()
        generation.position = known
        self._table.add(fresh, instead_of=generation)
        self._table.transition(generation, Event.LOST)
        self._search.for_missing(now)
        self._search.for_newer(now, known.modified, renamed=False)
        self.has_more = True

    def _on_read_error(self, generation: Generation, error: Exception, now: float) -> None:
        """A descriptor may have gone stale where the name is still good (D43)."""
        self.error = reason(error)
        if generation.state is not State.FOLLOWED:
            self._table.transition(generation, Event.LOST)
            self._search.for_missing(now)
            self.has_more = True
            return
        try:
            file = open_current(self.path)
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
        if self._terms.index.is_read(generation.position.identity, self._table):
            self._table.transition(generation, Event.FORGOTTEN)  # another path has found it to be what it missed
            self.has_more = True
            return False
        prefix = Fingerprint.of(reader.file.read(0, PREFIX))
        others = self._terms.index.alike(prefix.digest, self._table) if prefix.length == PREFIX else []
        copied = copied_bytes(reader.file, size, self.path, others) if others else 0
        if copied is None or (copied == size and now - reader.changed_at < STILL):
            self._may_be_copy = bool(size)
            return not size
        if size >= PREFIX or copied:
            generation.unproven = False
        if copied:
            self._skip_copy(generation, copied, now)
        return not copied

    def _skip_copy(self, generation: Generation, copied: int, now: float) -> None:
        """Goes on behind the copied bytes, as a new generation: the ledger may have the beginning of this one."""
        file = generation.opened.file
        fresh = self._new(position_at(file, start_of(file), copied), generation.state)
        fresh.open(file, self._terms.lengths, now)
        fresh.events, generation.events = generation.events, fresh.events
        generation.take_file()
        self._table.add(fresh, instead_of=generation)
        self._table.transition(generation, Event.FORGOTTEN)
        self.has_more = True
        _log.info("is a copy of what another file holds, and not counted again: path=%s bytes=%d", self.path, copied)

    # What is searched for.

    def _search_newer(self, now: float, renamed: bool = True) -> None:
        """The path has moved on, or its file was truncated: further generations may have come and gone (B17)."""
        newest = max((p.modified for p in positions(self._table.opened)), default=0)
        self._search.for_newer(now, newest, renamed)

    def _search_files(self, now: float) -> None:
        for found in self._search.find(now, self._evidence, not self.error):
            try:
                self._insert(found, now)
            except OSError:  # it is where it was, for the next look
                found[1].close()
                break
        self.has_more |= self._search.is_unpacking
        for generation in self._search.not_found(now) if self._table.missing else ():
            self._lose(generation)
        for generation in self._table.done[:-_REMEMBERED]:
            if not self._search.is_present(generation.position.identity):
                self._table.transition(generation, Event.FORGOTTEN)

    def _insert(self, found: Found, now: float) -> None:
        """Opens a generation that was found, before the followed one. A file of another path is left to that path."""
        generation, file, position = found
        is_new = generation is None
        if is_new and self._terms.index.was_read(identity(file.stat()), file, self._table):
            file.close()
            return
        if generation is None:
            generation = self._new(position, State.DRAINING)
        generation.position = structs.replace(position, path=self._quoted, number=generation.position.number)
        generation.open(file, self._terms.lengths, now)
        if is_new:
            renamed = self._search.renamed
            generation.count(rotations=renamed, truncations=not renamed)
            self._table.add(generation)
        else:
            self._table.transition(generation, Event.FOUND)

    def _lose(self, generation: Generation) -> None:
        position = generation.position
        blind = generation.restored or position.unread
        _log.log(
            logging.WARNING if blind else logging.INFO,
            "not found again, nor a copy of it: path=%s unread_bytes=%d; lines written to it while nobody looked are "
            "not counted (were they moved to another folder, name it in log_patterns)",
            self.path,
            position.unread,
        )
        generation.count(lost_bytes=position.unread)
        generation.must_post = True
        generation.position = structs.replace(position, done=True)
        self._table.transition(generation, Event.NOT_FOUND)
