"""The files of one source, read in turns: one window of a file, then the next file's.

A source has a thread of its own, so that a mount that hangs stops one source only. It knows no metric: the ledger gets
windows and batches, and what a scrape wants to know besides are attributes here.

A poll costs one listing per folder and one stat per file: a file that is unchanged and has nothing pending is not
looked at any further. All paths are looked at before any is searched for, so that one listing serves all searches.
"""

import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from exporter.tail.content_index import ContentIndex
from exporter.tail.context import SourceContext
from exporter.tail.encoding import EncodingLogger
from exporter.tail.file_reader import Lengths
from exporter.tail.first_pass import FirstPass
from exporter.tail.folder_listings import FolderListings
from exporter.tail.globs import Globs
from exporter.tail.open_file import stat_signature
from exporter.tail.position import Position, Window, decoded, encoded
from exporter.tail.read_errors import ReadErrors
from exporter.tail.recognition import Recognition
from exporter.tail.table import GenerationIndex
from exporter.tail.time_zones import EventTimeCheck
from exporter.tail.tracker import Tracker
from exporter.tail.unparsed_log import UnparsedLogger
from exporter.tail.validation import MalformedError, validate_batch
from exporter.tail.wake import Wake
from parsers.batch import Batch
from parsers.parser import Parser

_log = logging.getLogger(__name__)

_EXAMPLE = 200

#: Kinds of windows that are one unparsed line; the other kinds are no line at all.
_UNPARSED = ("too_long", "unterminated")


class SourceSettings(Protocol):
    """What a source needs of its `[[source]]` table; paths are absolute, or globs."""

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def parser(self) -> Parser: ...

    @property
    def log_patterns(self) -> tuple[str, ...]: ...


class LedgerPort(Protocol):
    """What a source needs of the ledger. `post` gives the position behind what was consumed."""

    def positions(self, source: str) -> Mapping[str, Position]: ...

    def searched_paths(self, source: str) -> Iterable[str]: ...

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None: ...

    def post(self, window: Window, batch: Batch) -> Position: ...


class Source:
    """`errors` counts troubles by reason, a trouble once as long as it lasts. `poll_interval` is in seconds.
    `busy_with` is the path that is looked at or read just now.
    """

    def __init__(
        self,
        settings: SourceSettings,
        ledger: LedgerPort,
        clock: Callable[[], float],
        poll_interval: float = 1.0,
        start_at: str = "end",
        line_length: int = 1 << 20,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self.busy_with = ""
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._poll_interval = poll_interval
        self._stored = ledger.positions(settings.name)
        numbers = itertools.count(1 + max((p.number for p in self._stored.values()), default=0))
        self._folders = FolderListings(clock)
        index = GenerationIndex()
        contents = ContentIndex(self._folders, index)
        lengths = Lengths(line_length, settings.parser.joined)
        self._context = SourceContext(
            settings.name, clock, numbers, self._folders, index, contents, lengths, settings.log_patterns
        )
        self._globs = Globs(settings.paths, settings.log_patterns, self._folders)
        self._skips_present = start_at == "end" and not self._stored
        # What appears where nothing was found is read from its beginning, also if it appeared while nobody looked.
        searched = [decoded(path) for path in ledger.searched_paths(settings.name)]
        self._searched_before = Globs(searched, settings.log_patterns, self._folders)
        self._first_pass: FirstPass[Tracker] = FirstPass()
        self._has_set_searched = False
        self._unparsed = UnparsedLogger(settings.name, clock)
        self._recognition = Recognition(settings.name, settings.parser.ignores_continuations(), clock)
        self._event_times = EventTimeCheck(settings.parser, time.time, self._warn)
        self._wanted: frozenset[str] = frozenset()
        self._trackers: dict[str, Tracker] = {}
        self._read_errors = ReadErrors(settings.name, self.errors)
        self._encodings = EncodingLogger(settings.name)
        self._ready: list[Tracker] = []
        self._next_poll: float | None = None
        self._stop = threading.Event()

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def files(self) -> int:
        """Files that are read: those that the paths name, each once."""
        return sum(tracker.reads and not tracker.error for tracker in self._present())

    @property
    def up(self) -> bool:
        """At least one path matches and all are readable."""
        troubles = {tracker.error for tracker in self._present()}
        return "" in troubles and troubles <= {"", "missing"}

    @property
    def recognised(self) -> bool:
        """Its lines begin records of its parser."""
        return self._recognition.is_recognised

    @property
    def lag(self) -> int:
        """Bytes known and not posted."""
        return sum(tracker.lag for tracker in self._present())

    @property
    def backlog(self) -> int:
        """Those of them that can be read: the beginning of a line that is still being written cannot."""
        return sum(tracker.backlog for tracker in self._present())

    @property
    def folders(self) -> tuple[str, ...]:
        """FolderListings in which changes are to be expected."""
        found = {os.path.dirname(tracker.path) for tracker in self._present()}
        return (*found, *{os.path.dirname(path) for path in self._settings.paths} - found)

    def first_pass_done(self) -> bool:
        """The sizes found at the start are reached; files that cannot be read do not count."""
        return self._first_pass.is_done()

    def progress(self) -> tuple[int, int]:
        """Bytes read of those found at the start, and those found."""
        return self._first_pass.progress()

    def run(self, stop: threading.Event, wake: Wake) -> None:
        """The thread's body. Nothing ends it but `stop`."""
        self._stop = stop
        changed: Iterable[str] = ()
        while not stop.is_set():
            try:
                more = self.turn(changed)
            except Exception as error:  # a fault of ours must cost a poll, not the source
                more = False
                self._read_errors.report(self.name, f"internal: {type(error).__name__}")
            changed = () if more else wake.wait(self._until_poll())
        self.close()

    def turn(self, changed: Iterable[str] = ()) -> bool:
        """At most one window of each file that has more, has changed, or is due. Whether more is waiting already."""
        now = self._clock()
        if self._next_poll is None or now >= self._next_poll:
            self._folders.begin_poll()
            self._find(first=self._next_poll is None)
            self._recognition.check()
            self._next_poll = now + self._poll_interval
            self._ready = self._changed()
        else:
            named = {self._trackers[path] for path in changed if path in self._trackers}
            self._ready += named.difference(self._ready)
        for tracker in self._ready:
            self.busy_with = tracker.path
            tracker.look(now)
            if self._stop.is_set():
                return False
        self._ready = [tracker for tracker in self._ready if not self._stop.is_set() and self._step(tracker)]
        self.busy_with = ""
        if not self._has_set_searched and self.first_pass_done():
            self._ledger.set_searched_paths(self.name, map(encoded, self._settings.paths))
            self._has_set_searched = True
        return bool(self._ready)

    def close(self) -> None:
        for tracker in self._trackers.values():
            tracker.close()

    def _until_poll(self) -> float:
        return self._poll_interval if self._next_poll is None else max(0.0, self._next_poll - self._clock())

    def _changed(self) -> list[Tracker]:
        """The files to look at: nearly all are left out by one stat each."""
        changed = []
        for path, tracker in self._trackers.items():
            self.busy_with = path
            try:
                is_quiet = (
                    tracker.quiet_signature is not None and stat_signature(os.stat(path)) == tracker.quiet_signature
                )
            except OSError:
                is_quiet = False
            if not is_quiet:
                changed.append(tracker)
        return changed

    def _step(self, tracker: Tracker) -> bool:
        """Posts the next window of a file. Whether there may be more."""
        self.busy_with = tracker.path
        window = tracker.window()
        batch = None if window is None else self._batch(tracker, window)
        if not tracker.is_forgotten:
            self._read_errors.update(tracker.path, tracker.error)
        if window is not None or not tracker.has_more:
            self._first_pass.measure(tracker, tracker.lag)
        if window is None or batch is None:
            if not (tracker.waits or tracker.has_more):
                self._first_pass.finish(tracker)
            return tracker.has_more
        position = self._ledger.post(window, batch)
        tracker.acknowledge(position, batch.consumed)
        self._unparsed.record(batch)
        if not (batch.skip or window.position.skip_streams):  # pieces of a dropped record are ignored lines
            self._recognition.add(batch)
        self._event_times.look(window.data, batch.last_at, self.first_pass_done() and not tracker.backlog)
        self._first_pass.read(tracker, batch.consumed)
        return True

    def _batch(self, tracker: Tracker, window: Window) -> Batch | None:
        """None where the parser fails: its trouble is the file's, and the other files go on."""
        if window.kind in _UNPARSED:
            reason = {window.kind: 1}
            example = {window.kind: window.data[:_EXAMPLE]}
            return Batch(consumed=len(window.data), lines=1, unparsed=reason, examples=example)
        if window.kind or not window.data:
            return Batch(consumed=len(window.data))
        if self._encodings.record(tracker.path, window):
            self.errors["encoding"] += 1
        try:
            skip = window.position.skip_streams
            batch = self._settings.parser.parse_part(window.data, window.final, skip, self._context.lengths.line)
            validate_batch(window, batch)
        except Exception as error:  # a third party's parser that breaks the law of totality
            detail = f" ({error})" if isinstance(error, MalformedError) else ""
            tracker.error = f"parser: {type(error).__name__}{detail}"
            return None
        return batch

    def _find(self, first: bool) -> None:
        """New matches get a tracker; a tracker that has nothing left to do is dropped."""
        wanted = self._globs.paths(self._trackers.keys())
        if first:
            self._restore(wanted)
        for path in wanted - self._trackers.keys() if wanted is not self._wanted else ():
            from_end = (
                first and self._skips_present and os.path.lexists(path) and not self._searched_before.covers(path)
            )
            is_trusted = first and not self._stored
            self._trackers[path] = Tracker(path, self._context, None, from_end, is_trusted)
        self._wanted = wanted
        for path, tracker in [each for each in self._trackers.items() if each[1].quiet_signature is None]:
            if tracker.is_forgotten and tracker.is_empty:
                del self._trackers[path]
                self._read_errors.forget(path)
            elif tracker.is_gone and path not in wanted:
                tracker.forget()
        if first:
            self._first_pass.begin(self._trackers.values())

    def _restore(self, wanted: frozenset[str]) -> None:
        """Trackers of the positions that the ledger holds. Those of paths no longer configured are dropped, unless
        another path, such as a link instead of its target, names their file now: it is not read twice.
        """
        by_path: dict[str, dict[str, Position]] = {}
        for key, position in self._stored.items():
            by_path.setdefault(decoded(position.path), {})[key] = position
        uncovered = [path for path in by_path if not self._globs.covers(path)]
        inodes = _inodes(wanted) if uncovered else {}
        for path in uncovered:
            heirs = [inodes[p.inode] for p in by_path[path].values() if p.inode in inodes]
            if heirs:
                by_path.setdefault(min(heirs), {}).update(by_path.pop(path))
        for path, positions in by_path.items():
            tracker = self._trackers[path] = Tracker(path, self._context, positions)
            if not self._globs.covers(path):
                tracker.forget()

    def _present(self) -> list[Tracker]:
        return [tracker for tracker in list(self._trackers.values()) if not tracker.is_forgotten]

    def _warn(self, sentence: str) -> None:
        _log.warning("source %s: %s", self.name, sentence)


def _inodes(paths: Iterable[str]) -> dict[int, str]:
    """The first of the paths that names a file, by inode. Its tracker decides whether the bytes are still those."""
    found: dict[int, str] = {}
    for path in sorted(paths):
        with suppress(OSError):
            found.setdefault(os.stat(path).st_ino, path)
    return found
