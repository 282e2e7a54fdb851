"""The log of facts: one line per fact, each fact once, and a heartbeat with the number of items."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, takewhile
from pathlib import Path

from exporter.receive.runs import LIMIT, KnownKeys, Runs
from exporter.wsgi.log_file import LogFile
from parsers.tracing import Fact, Known, Reading, draft_of, heartbeat_line, is_draft, known_by

_HEARTBEAT_SECONDS = 10.0


class FactLog:
    """Writes facts whose keys are not known. `clock` returns seconds since the epoch."""

    def __init__(self, file: LogFile, limit: int = LIMIT, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._keys = KnownKeys(limit)
        self._runs = Runs(self._keys, clock)
        self._clock = clock
        self._items: Counter[tuple[str, str]] = Counter()
        self._logged_at = 0.0

    def find_again(self, newest_first: Iterable[bytes]) -> None:
        """Remember the keys of the facts in a log's lines, until there are enough keys."""
        keys: dict[str, None] = {}
        others: list[Known] = []
        for known in map(known_by, newest_first):
            keys |= dict.fromkeys(known.keys)
            if known.alias or known.draft or known.run_app is not None:
                others.append(known)
            if len(keys) >= self._keys.limit:
                break
        for key in reversed(keys):
            self._keys.add(key)
        others.reverse()
        self._add_aliases(others)
        for known in others:
            if known.draft:
                self._runs.wait(known.draft)
            elif known.run_app is not None:
                self._runs.add(known.keys[0], known.run_app)
        self._write_due_runs()

    def write(self, reading: Reading) -> bool:
        """Write the new facts of one request. Returns False if not all of them are in the file: the client must try
        again.

        All lines are one write. If it is cut, its whole lines stay, because a reader may have seen them already.
        Nothing here switches to another greenlet, so two requests with the same fact cannot both find it new.
        """
        self._add_aliases(reading.facts)
        new, duplicates = self._new_facts(reading.facts)
        written = self._append(new)
        for fact in written:
            for key in _keys(fact):
                self._keys.add(key)
            if is_draft(fact):
                self._runs.wait(fact.line)
            self._items[fact.dialect, "written"] += 1
        is_complete = len(written) == len(new)
        if is_complete:
            self.count("duplicate", duplicates)
            self.count("ignored", reading.ignored)
            self.count("rejected", reading.rejected)
            self._write_due_runs()
        return is_complete

    def count(self, outcome: str, items: dict[str, int]) -> None:
        """Count items by dialect. The next heartbeat reports them."""
        for dialect, number in items.items():
            self._items[dialect, outcome] += number

    def every_second(self) -> None:
        """Write the runs that have waited long enough, and a heartbeat if the last one is 10 s old."""
        self._write_due_runs()
        if not 0 <= self._clock() - self._logged_at < _HEARTBEAT_SECONDS:  # negative after the clock was set back
            self.write_heartbeat()

    def write_heartbeat(self) -> None:
        """Write a heartbeat now. If this fails, the next one has its numbers."""
        now = self._clock()
        if self._file.append(heartbeat_line(self._items, int(now * 1e9))):
            self._items.clear()
            self._logged_at = now

    def _append(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        """Write the lines of the facts. Returns those that are in the file."""
        if not facts:
            return facts
        written = self._file.append(b"".join(fact.line for fact in facts))
        ends = accumulate(len(fact.line) for fact in facts)
        return facts[: len([*takewhile(lambda end: end <= written, ends)])]

    def _add_aliases(self, found: Iterable[Fact | Known]) -> None:
        for alias in [each.alias for each in found if each.alias]:
            self._keys.add_alias(*alias)
            self._runs.pair(alias)

    def _new_facts(self, facts: list[Fact]) -> tuple[list[Fact], Counter[str]]:
        """The facts, or parts of facts, that are not in the log, and the number of the others by dialect."""
        new: list[Fact] = []
        duplicates: Counter[str] = Counter()
        keys: set[str] = set()

        def is_known(fact: Fact) -> bool:
            return fact.key in self._keys or self._keys.resolve(fact.key) in keys

        for fact in facts:
            part: Fact | None = fact
            if not is_known(fact) and self._runs.must_wait(fact):
                part = draft_of(fact)
            while part is not None and is_known(part):
                part = part.rest
            if part is None:
                duplicates[fact.dialect] += 1
                continue
            new.append(part)
            keys.update(map(self._keys.resolve, _keys(part)))
            if part.run_app is not None:
                self._runs.add(part.key, part.run_app)
        return new, duplicates

    def _write_due_runs(self) -> None:
        """If they cannot be written, they stay due: the log has their drafts."""
        for run in self._append([*self._runs.due()]):
            self._keys.add(run.key)
            self._runs.written(run)


def _keys(fact: Fact) -> list[str]:
    return [fact.key, *(_keys(fact.rest) if fact.rest else ())]


_BLOCK_BYTES = 1 << 20
#: A limit of the work at the start: with lines of 700 bytes this holds far more keys than are remembered.
_MAX_READ_BYTES = 256 << 20


def newest_first(log: str) -> Iterator[bytes]:
    """Files that cannot be read are left out."""
    left = _MAX_READ_BYTES
    for path in (log, *_rotated(Path(os.path.realpath(log)))):
        if not os.path.isfile(path):  # opening a FIFO would wait for its writer
            continue
        try:
            for block in _blocks_from_the_end(path):
                yield from reversed(block.splitlines())
                left -= len(block)
                if left <= 0:
                    return
        except OSError:
            continue


def _rotated(log: Path) -> list[str]:
    """The rotated files of a log, newest first: receive.log.1, receive.log-20261130, receive-20261130.log.

    Packed files are left out: they cannot be read from the end.
    """
    name = re.compile(re.escape(log.stem) + r"[.-].*\d.*(?<!\.gz)")
    modified: dict[str, int] = {}
    for each in os.listdir(log.parent) if os.access(log.parent, os.R_OK) else ():
        path = str(log.parent / each)
        if name.fullmatch(each) and each != log.name and os.path.isfile(path):
            with suppress(OSError):  # it was rotated away in this moment
                modified[path] = os.stat(path).st_mtime_ns
    return sorted(modified, key=modified.__getitem__, reverse=True)


def _blocks_from_the_end(path: str) -> Iterator[bytes]:
    """Blocks of whole lines, the last one first. A line that is longer than a block is not ours: there it ends."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0 and len(rest) <= _BLOCK_BYTES:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin) + rest
            cut = (block.find(b"\n") + 1 or len(block)) if begin else 0
            rest, end = block[:cut], begin
            yield block[cut:]
