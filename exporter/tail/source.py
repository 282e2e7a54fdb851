"""Reads the files of one source in turns: one window of a file, then one window of the next file.

Each source has its own thread, so that a mount that hangs stops one source only. A source knows no metrics: it posts
windows and batches to the ledger, and has attributes for the gauges that a scrape needs.

A poll costs one listing per folder and one stat per file: nothing more is done for a file that is unchanged and was
read to its end. All paths are looked at before the searches start, so that one listing per folder serves all searches.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from exporter.process.special_files import stat_signature
from exporter.tail.first_pass import FirstPass
from exporter.tail.position import Position, Searched, Window, encoded
from exporter.tail.read_errors import ReadErrors
from exporter.tail.recognition import Recognition
from exporter.tail.source_config import SourceOptions
from exporter.tail.source_context import SourceContext
from exporter.tail.time_zones import EventTimeCheck
from exporter.tail.tracker import Tracker
from exporter.tail.tracker_set import TrackerSet
from exporter.tail.unparsed_log import UnparsedLogger
from exporter.tail.validation import MalformedError, is_built_in, validate_batch
from exporter.tail.wake import Wake
from parsers.batch import Batch
from parsers.parser import checked_call

#: Length in bytes of the example of an unparsed line.
_EXAMPLE = 200

#: Kinds of windows that are one unparsed line; the other kinds are no line at all.
_UNPARSED = ("too_long", "unterminated")


class LedgerPort(Protocol):
    """What a source needs of the ledger. `post` returns the position after the consumed bytes."""

    def positions(self, source: str) -> Mapping[str, Position]: ...

    def searched(self, source: str) -> Searched: ...

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None: ...

    def post(self, window: Window, batch: Batch) -> Position: ...


class Source:
    """Reads one source. `first_pass` and `recognition` say how far it was read at first, and whether the parser fits.

    `errors` counts read errors by reason, each error once as long as it lasts; `count_error` gets the source and the
    reason of each. `busy_with` is the path that is looked at or read at the moment. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        options: SourceOptions,
        ledger: LedgerPort,
        clock: Callable[[], float],
        start_at: str = "end",
        count_error: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        config = options.config
        self.errors: Counter[str] = Counter()
        self.busy_with = ""
        self._config, self._ledger, self._clock = config, ledger, clock
        self._poll_interval, self._report_error = options.poll_interval, count_error
        stored = ledger.positions(config.name)
        first_number = 1 + max((p.number for p in stored.values()), default=0)
        self._context = SourceContext(config, clock, options.line_length, first_number)
        self._trackers = TrackerSet(self._context, stored, ledger.searched(config.name), start_at == "end")
        self.first_pass = FirstPass()
        self._has_set_searched = False
        self._unparsed = UnparsedLogger(config.name, clock)
        self.recognition = Recognition(config.name, checked_call(config.parser, "ignores_continuations")[0], clock)
        self._event_times = EventTimeCheck(config.name, config.parser, time.time)
        self._read_errors = ReadErrors(config.name, self._count_error)
        self._ready: list[Tracker] = []
        self._next_poll: float | None = None
        self._stop = threading.Event()

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def files(self) -> int:
        """Return how many files the paths name and the source reads, each file once."""
        return sum(tracker.reads and not tracker.error for tracker in self._trackers.present)

    @property
    def up(self) -> bool:
        """Return whether at least one path matches and all files are readable."""
        errors = {tracker.error for tracker in self._trackers.present}
        return "" in errors and errors <= {"", "missing"}

    @property
    def lag(self) -> int:
        return sum(tracker.lag for tracker in self._trackers.present)

    @property
    def backlog(self) -> int:
        """Return the part of `lag` that can be read now. An incomplete line at the end of a file cannot."""
        return sum(tracker.backlog for tracker in self._trackers.present)

    @property
    def folders(self) -> tuple[str, ...]:
        found = {os.path.dirname(tracker.path) for tracker in self._trackers.present}
        return (*found, *{os.path.dirname(path) for path in self._config.paths} - found)

    def run(self, stop: threading.Event, wake: Wake) -> None:
        """Run the source on the current thread until `stop` is set."""
        self._stop = stop
        changed: Iterable[str] = ()
        while not stop.is_set():
            try:
                more = self.turn(changed)
            except Exception as error:  # a bug here must cost one poll, not the source
                more = False
                self._read_errors.report(self.name, f"internal: {type(error).__name__}")
            until_poll = self._poll_interval if self._next_poll is None else self._next_poll - self._clock()
            changed = () if more else wake.wait(max(0.0, until_poll))
        self.close()

    def turn(self, changed: Iterable[str] = ()) -> bool:
        """Read at most one window of each file that has more, has changed, or is due. Return whether there is more."""
        now = self._clock()
        if self._next_poll is None or now >= self._next_poll:
            self._context.folders.begin_poll()
            for path in self._trackers.update(is_first=self._next_poll is None):
                self._read_errors.forget(path)
            if self._next_poll is None:
                self.first_pass.begin(tracker.path for tracker in self._trackers)
            self.recognition.check()
            self._next_poll = now + self._poll_interval
            self._ready = self._changed()
        else:
            woken = {tracker for path in changed if (tracker := self._trackers.get(path)) is not None}
            self._ready += woken.difference(self._ready)
        for tracker in self._ready:
            self.busy_with = tracker.path
            tracker.look(now)
            if self._stop.is_set():
                return False
        self._ready = [tracker for tracker in self._ready if not self._stop.is_set() and self._step(tracker)]
        self.busy_with = ""
        if not self._has_set_searched and self.first_pass.is_done():
            self._ledger.set_searched_paths(self.name, map(encoded, self._config.paths))
            self._has_set_searched = True
        return bool(self._ready)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()

    def _changed(self) -> list[Tracker]:
        """Return the trackers to look at. Nearly all files are left out by one stat each."""
        changed = []
        for tracker in self._trackers:
            self.busy_with = tracker.path
            try:
                quiet = tracker.quiet_signature
                is_quiet = quiet is not None and stat_signature(os.stat(tracker.path)) == quiet
            except OSError:
                is_quiet = False
            if not is_quiet:
                changed.append(tracker)
        return changed

    def _step(self, tracker: Tracker) -> bool:
        """Post the next window of a file. Return whether there may be more."""
        self.busy_with = tracker.path
        window = tracker.window()
        batch = None if window is None else self._batch(tracker, window)
        if not tracker.is_forgotten:
            self._read_errors.update(tracker.path, tracker.error)
        if window is not None or not tracker.has_more:
            self.first_pass.measure(tracker.path, tracker.lag)
        if window is None or batch is None:
            if not (tracker.waits or tracker.has_more):
                self.first_pass.finish(tracker.path)
            return tracker.has_more
        position = self._ledger.post(window, batch)
        tracker.acknowledge(position, batch.consumed)
        self._unparsed.record(batch)
        if not (batch.skip or window.position.skip_streams):  # pieces of a dropped record are ignored lines
            self.recognition.add(batch)
        self._event_times.look(window.data, batch.last_at, self.first_pass.is_done() and not tracker.backlog)
        self.first_pass.read(tracker.path, batch.consumed)
        return True

    def _batch(self, tracker: Tracker, window: Window) -> Batch | None:
        """Parse a window. Return None if the parser fails: then this file has an error; other files are still read."""
        if window.kind in _UNPARSED:
            reason = {window.kind: 1}
            example = {window.kind: window.data[:_EXAMPLE]}
            return Batch(consumed=len(window.data), lines=1, unparsed=reason, examples=example)
        if window.kind or not window.data:
            return Batch(consumed=len(window.data))
        self._read_errors.check_encoding(tracker.path, window)
        try:
            skip = window.position.skip_streams
            parser = self._config.parser
            batch = parser.parse_part(window.data, window.final, skip, self._context.lengths.line)
            validate_batch(len(window.data), batch, is_built_in(parser))
        except Exception as error:  # a third-party parser may raise anything
            detail = f" ({error})" if isinstance(error, MalformedError) else ""
            tracker.error = f"parser: {type(error).__name__}{detail}"
            return None
        return batch

    def _count_error(self, reason: str) -> None:
        self.errors[reason] += 1
        self._report_error(self.name, reason)
