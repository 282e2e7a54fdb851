"""The files of one source, read in turns: one window a file, then the next file's.

A source has a thread of its own, so that a hung mount stops one source. It knows no metric: the ledger gets
windows and batches, and what a scrape wants to know besides are attributes here.
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

from exporter.complaints import Complaints
from exporter.files.following import Terms
from exporter.files.lineage import decoded, encoded
from exporter.files.matches import Matches
from exporter.files.opened import Identity, Opened
from exporter.judge import MalformedError, judge
from exporter.recognition import Recognition
from exporter.tail import Tail
from exporter.time_zones import EventTimes
from exporter.wake import Wake
from exporter.window import Position, Window
from parsers.batch import Batch
from parsers.parser import Parser

_log = logging.getLogger(__name__)

_EXAMPLE = 200

#: Verdicts of the tail that are one unparsed line; those that are none are in no table.
_UNPARSED = ("too_long", "unterminated")


#: What an operator can do, by reason.
_REMEDIES = {
    "permission": "give the exporter's user the right to read it (a group, or setfacl); no restart is needed",
    "not_a_file": "name a log file: folders, FIFOs, sockets and devices are refused",
    "packed": "nginx packs this log, so it cannot be tailed: remove gzip from its access_log",
    "too_many_files": "raise the limit on open files (ulimit -n, systemd's LimitNOFILE); no log above it is read",
    "parser": "it breaks one of the laws in docs/develop.md; its lines wait for a better one",
}


class Settings(Protocol):
    """What a source needs of its `[[source]]` table; paths are absolute, or globs."""

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def parser(self) -> Parser: ...

    @property
    def log_patterns(self) -> tuple[str, ...]: ...


class Books(Protocol):
    """What a source needs of the ledger."""

    def positions(self, source: str) -> Mapping[str, Position]: ...

    def sought(self, source: str) -> Iterable[str]: ...

    def seek(self, source: str, paths: Iterable[str]) -> None: ...

    def post(self, window: Window, batch: Batch) -> None: ...


class Source:
    """`errors` counts troubles by reason, a trouble once as long as it lasts. `poll_interval` is in seconds."""

    def __init__(
        self,
        settings: Settings,
        books: Books,
        clock: Callable[[], float],
        poll_interval: float = 1.0,
        start_at: str = "end",
        line_length: int = 1 << 20,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self._settings, self._books, self._clock = settings, books, clock
        self._poll_interval = poll_interval
        self._restored = books.positions(settings.name)
        numbers = itertools.count(1 + max((p.number for p in self._restored.values()), default=0))
        self._terms = Terms(settings.name, clock, numbers, line_length, settings.log_patterns)
        self._matches = Matches(settings.paths, settings.log_patterns, clock)
        self._skips_present = start_at == "end" and not self._restored
        # What appears where nothing was found is read from its beginning, also if we were not there to see it.
        self._awaited = Matches([*map(decoded, books.sought(settings.name))], settings.log_patterns, clock)
        self._told = False
        self._complaints = Complaints(settings.name, clock)
        self._recognition = Recognition(settings.name, settings.parser.ignores_continuations(), clock)
        self._event_times = EventTimes(settings.parser, time.time, self._warn)
        self._tails: dict[str, Tail] = {}
        self._troubles: dict[str, str] = {}
        self._ready: list[Tail] = []
        self._next_poll: float | None = None
        self._owed: dict[Tail, int] = {}
        self._to_measure: set[Tail] = set()
        self._found = 0

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def files(self) -> int:
        """Files that are read: those that the paths name, each once."""
        return sum(tail.reads and not tail.error for tail in self._present())

    @property
    def up(self) -> bool:
        """At least one path matches and all are readable."""
        troubles = {tail.error for tail in self._present()}
        return "" in troubles and troubles <= {"", "missing"}

    @property
    def recognised(self) -> bool:
        """Its lines begin records of its parser."""
        return self._recognition.holds

    @property
    def lag(self) -> int:
        """Bytes known and not posted."""
        return sum(tail.lag for tail in self._present())

    @property
    def backlog(self) -> int:
        """Those of them that can be read: the beginning of a line that is still being written is none."""
        return sum(tail.backlog for tail in self._present())

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders in which changes are to be expected."""
        found = {os.path.dirname(tail.filename) for tail in self._present()}
        return (*found, *{os.path.dirname(path) for path in self._settings.paths} - found)

    def first_pass_done(self) -> bool:
        """The sizes found at the start are reached; files that cannot be read do not count."""
        return self._next_poll is not None and not self._to_measure and not any(list(self._owed.values()))

    def progress(self) -> tuple[int, int]:
        """Bytes read of those found at the start, and those found."""
        return self._found - sum(list(self._owed.values())), self._found

    def run(self, stop: threading.Event, wake: Wake) -> None:
        """The thread's body. Nothing ends it but `stop`."""
        changed: Iterable[str] = ()
        while not stop.is_set():
            try:
                more = self.turn(changed)
            except Exception as error:  # a fault of ours must cost a poll, not the source
                more = False
                self._say(self.name, f"internal: {type(error).__name__}")
            changed = () if more else wake.wait(self._until_poll())
        self.close()

    def turn(self, changed: Iterable[str] = ()) -> bool:
        """At most one window of each file that has more, has changed, or is due. Whether more is waiting already."""
        now = self._clock()
        if self._next_poll is None or now >= self._next_poll:
            self._find(first=self._next_poll is None)
            self._recognition.judge()
            self._next_poll = now + self._poll_interval
            self._ready = list(self._tails.values())
        else:
            named = {self._tails[path] for path in changed if path in self._tails}
            self._ready += named.difference(self._ready)
        self._ready = [tail for tail in self._ready if self._step(tail)]
        if not self._told and self.first_pass_done():
            self._books.seek(self.name, map(encoded, self._settings.paths))
            self._told = True
        return bool(self._ready)

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    def _until_poll(self) -> float:
        return self._poll_interval if self._next_poll is None else max(0.0, self._next_poll - self._clock())

    def _step(self, tail: Tail) -> bool:
        window = tail.window()
        batch = None if window is None else self._batch(tail, window)
        self._note(tail)
        if tail in self._to_measure:
            self._to_measure.discard(tail)
            self._owed[tail] = tail.lag
            self._found += self._owed[tail]
        if window is None or batch is None:
            if not tail.waits:
                self._owed.pop(tail, None)
            return False
        self._books.post(window, batch)
        tail.posted(batch.consumed)
        self._complaints.hear(batch)
        self._recognition.add(batch)
        self._event_times.look(window.data, batch.last_at, self.first_pass_done() and not tail.backlog)
        if tail in self._owed:
            self._owed[tail] = max(0, self._owed[tail] - batch.consumed)
        return True

    def _batch(self, tail: Tail, window: Window) -> Batch | None:
        """None where the parser fails: its trouble is the file's, and the other files go on."""
        if window.verdict in _UNPARSED:
            reason = {window.verdict: 1}
            example = {window.verdict: window.data[:_EXAMPLE]}
            return Batch(consumed=len(window.data), lines=1, unparsed=reason, examples=example)
        if window.verdict or not window.data:
            return Batch(consumed=len(window.data))
        try:
            batch = self._settings.parser.parse(window.data, window.final)
            judge(window, batch)
        except Exception as error:  # a third party's parser that breaks the law of totality
            told = f" ({error})" if isinstance(error, MalformedError) else ""
            tail.error = f"parser: {type(error).__name__}{told}"
            return None
        return batch

    def _find(self, first: bool) -> None:
        """New matches get a tail; a tail that nothing is left of is forgotten."""
        wanted = self._matches.now()
        if first:
            self._restore(wanted)
        for path in wanted:
            if path not in self._tails:
                from_end = first and self._skips_present and os.path.lexists(path) and not self._awaited.covers(path)
                self._tails[path] = Tail(path, self._terms, None, from_end, self._elsewhere)
        for path, tail in list(self._tails.items()):
            if tail.left and not tail.files:
                del self._tails[path]
                self._troubles.pop(path, None)
            elif tail.gone and path not in wanted:
                tail.forget()
        if first:
            self._to_measure = set(self._tails.values())

    def _restore(self, wanted: frozenset[str]) -> None:
        """Tails of the positions that the ledger holds. Those of paths no longer configured are dropped, unless another
        path, such as a link instead of its target, names their file now: it is not read twice.
        """
        by_path: dict[str, dict[str, Position]] = {}
        for key, position in self._restored.items():
            by_path.setdefault(decoded(position.path), {})[key] = position
        for path in [path for path in by_path if not self._matches.covers(path)]:
            if (heir := _naming(by_path[path], wanted)) is not None:
                by_path.setdefault(heir, {}).update(by_path.pop(path))
        for path, positions in by_path.items():
            tail = self._tails[path] = Tail(path, self._terms, positions, False, self._elsewhere)
            if not self._matches.covers(path):
                tail.forget()

    def _elsewhere(self, tail: Tail, held: Identity, file: Opened | None) -> Tail | None:
        """One (device, inode) is read once."""
        return next((t for t in self._tails.values() if t is not tail and t.holds(held, file)), None)

    def _present(self) -> list[Tail]:
        return [tail for tail in list(self._tails.values()) if not tail.left]

    def _note(self, tail: Tail) -> None:
        if tail.error != self._troubles.get(tail.filename, "") and not tail.left:
            self._troubles[tail.filename] = tail.error
            self._say(tail.filename, tail.error)

    def _warn(self, sentence: str) -> None:
        _log.warning("source %s: %s", self.name, sentence)

    def _say(self, path: str, trouble: str) -> None:
        """Once a trouble. A missing file is no error: it is waited for."""
        if trouble == "missing":
            _log.info("waiting for a file: source=%s path=%s", self.name, path)
        elif trouble:
            reason = trouble.partition(":")[0]
            self.errors[reason] += 1
            remedy = _REMEDIES.get(reason, "it is tried again")
            _log.warning("cannot be read: source=%s path=%s reason=%s; %s", self.name, path, trouble, remedy)
        else:
            _log.info("is read: source=%s path=%s", self.name, path)


def _naming(positions: Mapping[str, Position], paths: Iterable[str]) -> str | None:
    """The path that names a file of these positions; whether its bytes are still theirs is for its tail to say."""
    held = {position.inode for position in positions.values()}
    for path in sorted(paths):
        with suppress(OSError):
            if os.stat(path).st_ino in held:
                return path
    return None
