"""The newest failures and unparsed lines with their positions in the logs, for the status page.

Counters report how many failures there are; an operator also needs to read one of them. A batch contains only sums of
failures, so the last lines of its window are parsed again, one by one. This happens at most once per second and source,
for at most 400 lines. On a busy machine it happens less often, so that a backlog is read as fast as without it.

The page shows the command that prints the line of a failure. A log is renamed, copied and truncated meanwhile, so a
file is named only if the line is still there: its first bytes have the fingerprint that was taken when the line
was read.
"""

import logging
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from msgspec import Struct

from exporter.ledger.ledger import Ledger
from exporter.messages import redact
from exporter.metrics.exemplars import TRACE_ID, Exemplars
from exporter.process.special_files import refuse_special
from exporter.tail.position import FINGERPRINT, Fingerprint, Identity, Position, Searched, Window, decoded
from parsers import batch as b
from parsers.parser import Parser
from parsers.values.numbers import SECOND

_log = logging.getLogger(__name__)

_MAX_FAILURES = 20
#: Seconds between two searches of one source: 50 times as long as the search before took, within these limits.
_MIN_PAUSE, _MAX_PAUSE = 1.0, 30.0
_MAX_LINES_PER_SEARCH = 400
_MAX_FAILURES_PER_SEARCH = 5


class FailureEntry(Struct, frozen=True):
    """A failure and the byte `offset` in `file` where its line begins. Unknown values are "".

    `at` is the time in the line, or else the time when the line was read, in seconds since the epoch. `file` is the
    path of the log, which may name another file by now. `line` is the fingerprint of the first bytes of the line. The
    offset of a packed file (gzip) counts uncompressed bytes.
    """

    at: float
    source: str
    kind: str
    route: str
    status_code: str
    trace_id: str
    file: str
    offset: int
    identity: Identity
    is_packed: bool
    line: Fingerprint


class UnparsedLine(Struct, frozen=True):
    """An unparsed line: when it was read (seconds since the epoch), why it is unparsed, and its redacted text."""

    at: float
    source: str
    reason: str
    shape: str


class FailureBuffer:
    """A ring buffer of failures in memory. `clock` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: deque[FailureEntry] = deque(maxlen=_MAX_FAILURES)
        self._unparsed: dict[tuple[str, str], UnparsedLine] = {}
        self._searched: dict[str, tuple[float, float]] = {}  # by source: the end of the last search, the pause after it
        self._samples: dict[str, dict[type, b.Record]] = {}  # by source and type of record

    def failures(self) -> list[FailureEntry]:
        """The newest first."""
        with self._lock:
            return sorted(self._failures, key=lambda failure: failure.at, reverse=True)

    def unparsed(self) -> list[UnparsedLine]:
        with self._lock:
            return list(self._unparsed.values())

    def samples(self, source: str) -> dict[type, b.Record]:
        """One record of each type that a source has produced since the start."""
        with self._lock:
            return self._samples.get(source, {}).copy()

    def record(self, window: Window, batch: b.Batch, parser: Parser) -> int | None:
        """Record the failures and unparsed lines of a batch that was just posted.

        Returns where the line of the newest failure begins in the window; None if no failure was looked for or found.
        """
        now = self._clock()
        samples = {type(record): record for record in batch.records}
        with self._lock:
            self._samples.setdefault(window.source, {}).update(samples)
            for reason, line in batch.examples.items():
                self._unparsed[window.source, reason] = UnparsedLine(now, window.source, reason, redact(line))
        searched_at, pause = self._searched.get(window.source, (0.0, 0.0))
        age = now - searched_at  # negative after the clock was set back
        if not 0 <= age < pause and any(_failure_of(record) for record in batch.records):
            failures = list(_search(window, batch.consumed, parser, now))
            ended = self._clock()
            self._searched[window.source] = ended, min(max(_MIN_PAUSE, 50 * (ended - now)), _MAX_PAUSE)
            with self._lock:
                self._failures.extend(reversed(failures))
            return failures[0].offset - window.position.offset if failures else None
        return None


class ObservedLedger:
    """The ledger of a source. It passes each batch to a failure buffer and to the exemplars after it was posted."""

    def __init__(self, ledger: Ledger, buffer: FailureBuffer, exemplars: Exemplars, parser: Parser) -> None:
        self._ledger, self._buffer, self._exemplars, self._parser = ledger, buffer, exemplars, parser

    def positions(self, source: str) -> dict[str, Position]:
        return self._ledger.positions(source)

    def searched(self, source: str) -> Searched:
        return self._ledger.searched(source)

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None:
        self._ledger.set_searched_paths(source, paths)

    def post(self, window: Window, batch: b.Batch) -> Position:
        position = self._ledger.post(window, batch)
        try:
            failure = self._buffer.record(window, batch, self._parser)
            if batch.records:
                self._exemplars.look(window, batch.consumed, failure, self._parser)
        except Exception as error:  # a third-party parser fails for a single line; the batch is already posted
            _log.debug(
                "the failures and exemplars of a window cannot be shown: source=%s %s",
                window.source,
                type(error).__name__,
            )
        return position


def _search(window: Window, consumed: int, parser: Parser, now: float) -> Iterator[FailureEntry]:
    """The last failures of a window, the newest first."""
    end, found = consumed, 0
    for _ in range(_MAX_LINES_PER_SEARCH):
        start = window.data.rfind(b"\n", 0, max(0, end - 1)) + 1
        line = window.data[start:end]
        batch = parser.parse(line, final=True) if line else b.Batch()
        for record in batch.records:
            if (failure := _failure_of(record)) and found < _MAX_FAILURES_PER_SEARCH:
                found += 1
                at = min(now, batch.last_at / SECOND) if batch.last_at else now
                yield _entry(at, window, start, failure, line)
        end = start
        if not end or found >= _MAX_FAILURES_PER_SEARCH:
            return


def _entry(at: float, window: Window, start: int, failure: tuple[str, str, str], line: bytes) -> FailureEntry:
    """`start` is where the line begins in the window."""
    trace = TRACE_ID.search(line)
    return FailureEntry(
        at,
        window.source,
        *failure,
        trace_id=trace[1].decode() if trace else "",
        file=decoded(window.position.path),
        offset=window.position.offset + start,
        identity=window.position.identity,
        is_packed=window.position.compressed,
        line=Fingerprint.of(line[:FINGERPRINT]),
    )


def _failure_of(record: b.Record) -> tuple[str, str, str] | None:
    """Kind, route and status code of a failure; None for any other record."""
    if isinstance(record, b.Request) and record.failure:
        return record.failure, record.route, record.status_code
    if isinstance(record, b.Failure):
        return record.kind, "", ""
    if isinstance(record, b.Run) and record.status == "failed":
        return "run_failed", "", ""
    return None


#: The rotated files of a log that are tried. They are in the folder of the log, and their names begin with its name.
_MAX_CANDIDATES = 30
_MAX_NAMES = 10_000


class FailureRow(Struct, frozen=True):
    """A failure, and the command that prints its line. `command` is "" if no file is found that has the line."""

    failure: FailureEntry
    command: str

    @property
    def anchor(self) -> str:
        """An id for links to the row. It stays the same while the row is shown."""
        failure = self.failure
        place = repr((failure.source, failure.route, failure.file, failure.identity, failure.offset))
        return "failure-" + blake2b(place.encode(), digest_size=8).hexdigest()


def failure_row(failure: FailureEntry) -> FailureRow:
    path = next((path for path in (failure.file, *_rotated(failure.file)) if _has_line(path, failure)), "")
    return FailureRow(failure, command(path, failure.offset, failure.is_packed) if path else "")


def command(path: str, offset: int, is_packed: bool) -> str:
    """The shell command that prints the line that begins at `offset`, in uncompressed bytes. The path is absolute."""
    first = offset + 1  # tail counts from 1
    name = quoted(path)
    return f"zcat {name} | tail -c +{first} | head -n 1" if is_packed else f"tail -c +{first} {name} | head -n 1"


def quoted(path: str) -> str:
    r"""A path as one word of a shell.

    A name with control characters, or with bytes that are no UTF-8, is written as `$'…'` with octal escapes, which
    bash, zsh, ksh and BusyBox read. So a copied command is one line, and it is the command that was seen.
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(map(_escaped, path)) + "'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    return character if character.isprintable() else "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


def _rotated(path: str) -> list[str]:
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in islice(entries, _MAX_NAMES) if each.name.startswith(name)]
    except OSError:
        return []
    return [os.path.join(folder, each) for each in sorted(names)[:_MAX_CANDIDATES] if each != name]


def _has_line(path: str, failure: FailureEntry) -> bool:
    """Whether a file has the line. A packed file is not unpacked for this: it is known by its inode."""
    try:
        refuse_special(Path(path))
        with open(path, "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if failure.is_packed:
                return (found.st_dev, found.st_ino) == failure.identity
            return failure.line.matches(os.pread(file.fileno(), failure.line.length, failure.offset))
    except OSError:
        return False
