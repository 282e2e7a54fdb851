"""The newest failures and unparsed lines, with their places in the logs: for a person, not for Prometheus.

Counters say how many; a person who repairs something wants to read one. A batch has only sums of failures, so the last
lines of its window are parsed again one by one: at most once per second and source, and a bounded number of lines.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from exporter.ledger.ledger import Ledger
from exporter.messages import redact
from exporter.tail.position import Position, Window, decoded
from parsers import batch as b
from parsers.parser import Parser
from parsers.values.numbers import SECOND

_log = logging.getLogger(__name__)

_KEPT = 20
_PAUSE = 1.0
_LINES = 400
_FOUND = 5

#: `"trace_id":"…"`, also inside a Docker record, or before the dash of Dify's text lines.
_TRACE_ID = re.compile(rb'(?:trace_id\W{1,8}|\] )([0-9a-f]{32})(?= - |[\\"])')


class Failure(Struct, frozen=True):
    """`at` in seconds since the epoch: the time in the line, else when it was read. What is unknown is ""."""

    at: float
    source: str
    kind: str
    route: str
    status_code: str
    trace_id: str
    file: str
    offset: int


class Unparsed(Struct, frozen=True):
    """`shape` is a redacted line."""

    at: float
    source: str
    reason: str
    shape: str


class FailureBuffer:
    """A ring buffer that lives with the process. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: deque[Failure] = deque(maxlen=_KEPT)
        self._unparsed: dict[tuple[str, str], Unparsed] = {}
        self._next: dict[str, float] = {}
        self._kinds: dict[str, dict[type, b.Record]] = {}

    def failures(self) -> list[Failure]:
        """All that are kept, the newest first."""
        with self._lock:
            return sorted(self._failures, key=lambda failure: failure.at, reverse=True)

    def unparsed(self) -> list[Unparsed]:
        """The last unparsed line of each source and reason."""
        with self._lock:
            return list(self._unparsed.values())

    def sample(self, source: str) -> b.Batch:
        """One record of each kind that a source has produced."""
        with self._lock:
            return b.Batch(records=tuple(self._kinds.get(source, {}).values()))

    def note(self, window: Window, batch: b.Batch, parser: Parser) -> None:
        """Records the failures of a batch that has just been posted."""
        now = self._clock()
        kinds = {type(record): record for record in batch.records}
        with self._lock:
            self._kinds.setdefault(window.source, {}).update(kinds)
        for reason, line in batch.examples.items():
            with self._lock:
                self._unparsed[window.source, reason] = Unparsed(now, window.source, reason, redact(line))
        if now >= self._next.get(window.source, 0.0) and any(_failed(record) for record in batch.records):
            self._next[window.source] = now + _PAUSE
            found = list(_search(window, batch.consumed, parser, now))
            with self._lock:
                self._failures.extend(reversed(found))


class ObservedLedger:
    """The ledger for a source, with a buffer that sees each batch after it is posted."""

    def __init__(self, ledger: Ledger, recent: FailureBuffer, parser: Parser) -> None:
        self._ledger, self._recent, self._parser = ledger, recent, parser

    def positions(self, source: str) -> dict[str, Position]:
        return self._ledger.positions(source)

    def searched_paths(self, source: str) -> list[str]:
        return self._ledger.searched_paths(source)

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None:
        self._ledger.set_searched_paths(source, paths)

    def post(self, window: Window, batch: b.Batch) -> Position:
        position = self._ledger.post(window, batch)
        try:
            self._recent.note(window, batch, self._parser)
        except Exception as error:  # a third party's parser fails on a single line; the batch is already posted
            _log.debug("the failures of a window cannot be shown: source=%s %s", window.source, type(error).__name__)
        return position


def _search(window: Window, consumed: int, parser: Parser, now: float) -> Iterator[Failure]:
    """The last failures of a window, the newest first."""
    end, found = consumed, 0
    for _ in range(_LINES):
        begin = window.data.rfind(b"\n", 0, max(0, end - 1)) + 1
        line = window.data[begin:end]
        batch = parser.parse(line, final=True) if line else b.Batch()
        for record in batch.records:
            if (failed := _failed(record)) and found < _FOUND:
                found += 1
                at = min(now, batch.last_at / SECOND) if batch.last_at else now
                trace = _TRACE_ID.search(line)
                trace_id = trace[1].decode() if trace else ""
                place = decoded(window.position.path), window.position.offset + begin
                yield Failure(at, window.source, *failed, trace_id, *place)
        end = begin
        if not end or found >= _FOUND:
            return


def _failed(record: b.Record) -> tuple[str, str, str] | None:
    """Kind, route and status code of a failure; None for any other record."""
    if isinstance(record, b.Request) and record.failure:
        return record.failure, record.route, record.status_code
    if isinstance(record, b.Failure):
        return record.kind, "", ""
    if isinstance(record, b.Run) and record.status == "failed":
        return "run_failed", "", ""
    return None
