"""Exemplars: the trace id of one observation per bucket of a histogram, and of one failure per counter.

A batch holds sums, which no trace id belongs to. So one line of its window is parsed again, by itself: at most one line
per second and source. A ledger of its own finds which series the line moves. Exemplars are in memory only.
"""

import re
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct, structs

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Labels, Limits
from exporter.tail.position import Window
from parsers import batch as b
from parsers.parser import Parser
from parsers.values.numbers import SECOND

#: `"trace_id":"…"`, also inside a Docker record, or before the dash of Dify's text lines. It is W3C's trace-id.
TRACE_ID = re.compile(rb'(?:trace_id\W{1,8}|\] )([0-9a-f]{32})(?= - |[\\"])')

#: Seconds between two lines of one source. A line that is no failure waits longer, so that failures find their turn.
_INTERVAL, _LONG_INTERVAL = 1.0, 2.0
_MAX_EXEMPLARS = 4096
_FAILURES = (c.FAILED_REQUESTS, c.ERRORS)

#: Records whose series depend on other lines too.
_JOINED = (b.Opened, b.Closed, b.Accepted, b.TraceError)


class Exemplar(Struct, frozen=True, gc=False):
    """An observation: its trace id, its value in seconds (1 for a failure), and its line's time since the epoch."""

    trace_id: str
    value: float
    at: float


#: The exemplars of one series by the number of their classic bucket; that of a counter has the number 0.
BySeries = Mapping[Labels, Mapping[int, Exemplar]]

NONE: Mapping[c.Metric, BySeries] = {}


class Exemplars:
    """The newest exemplar of each bucket. Sources add them from their threads; any thread may read them."""

    def __init__(
        self, limits: Limits, buckets: Mapping[str, tuple[float, ...]], clock: Callable[[], float] = time.time
    ) -> None:
        """`buckets` replaces the bounds of histograms, in seconds. `clock` returns seconds since the epoch."""
        self._limits, self._buckets, self._clock = limits, buckets, clock
        self._lock = threading.Lock()
        self._looked_at: dict[str, float] = {}
        self._found: dict[tuple[c.Metric, Labels, int], Exemplar] = {}

    def look(self, window: Window, consumed: int, failure: int | None, parser: Parser) -> None:
        """Look for exemplars in one line of a window that was posted up to byte `consumed`, if it is time.

        `failure` is where the line of a failure begins, if one is known; otherwise it is the last line.
        """
        now, data = self._clock(), window.data
        interval = _LONG_INTERVAL if failure is None else _INTERVAL
        if 0 <= now - self._looked_at.get(window.source, 0.0) < interval:  # negative after the clock was set back
            return
        self._looked_at[window.source] = now
        begin = data.rfind(b"\n", 0, max(0, consumed - 1)) + 1 if failure is None else failure
        line = data[begin : data.find(b"\n", begin, consumed) + 1 or consumed]
        trace = TRACE_ID.search(line)
        batch = parser.parse(line, final=True) if trace else b.Batch()
        if trace is None or batch.last_at is None:
            return
        exemplar = Exemplar(trace[1].decode(), 1.0, min(now, batch.last_at / SECOND))
        found = {key: structs.replace(exemplar, value=value) for key, value in self._moved(window.source, batch)}
        with self._lock:
            for key in found:
                self._found.pop(key, None)
            self._found.update(found)
            for key in list(self._found)[: max(0, len(self._found) - _MAX_EXEMPLARS)]:
                del self._found[key]

    def by_metric(self) -> Mapping[c.Metric, BySeries]:
        with self._lock:
            found = list(self._found.items())
        result: dict[c.Metric, dict[Labels, dict[int, Exemplar]]] = {}
        for (metric, labels, bucket), exemplar in found:
            result.setdefault(metric, {}).setdefault(labels, {})[bucket] = exemplar
        return result

    def _moved(self, source: str, batch: b.Batch) -> Iterator[tuple[tuple[c.Metric, Labels, int], float]]:
        """The buckets and failure counters that the batch of one line moves, with the value of the observation."""
        ledger = Ledger(self._limits, self._clock, self._buckets, is_stored=False)
        records = tuple(record for record in batch.records if not isinstance(record, _JOINED))
        ledger.enter(source, structs.replace(batch, records=records))
        snapshot = ledger.snapshot(None)
        for metric, histograms in snapshot.histograms.items():
            for labels, histogram in histograms.items():
                if histogram.count == 1:
                    seconds = histogram.total / SECOND
                    yield (metric, labels, bisect_left(snapshot.bounds[metric], seconds)), float(seconds)
        for metric in _FAILURES:
            for labels, count in snapshot.counters[metric].items():
                if count:
                    yield (metric, labels, 0), 1.0
