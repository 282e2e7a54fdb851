"""Collects what /health and the status page show: the progress of the sources, failures, and the history."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from exporter import __version__
from exporter import catalogue as c
from exporter.advice import alerts
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.exemplars import Exemplars
from exporter.status import history
from exporter.status.failures import FailureBuffer, ObservedLedger, failure_row
from exporter.status.history import History
from exporter.status.rows import Status, budget_rows, model_rows, source_rows
from exporter.status.traffic import day_rows, recent, route_rows, today_row, traffic_rows
from exporter.tail.source import LedgerPort, Source
from exporter.tail.source_config import SourceConfig
from parsers import batch as b
from parsers.advice import merged, record_types
from parsers.parser import advice_of

#: The records that a series proves, from its labels without the source: what a log reported before the last restart.
_PROVEN: Mapping[c.Metric, Callable[..., b.Record]] = {
    c.REQUESTS: b.Request,
    c.TOKENS_USED: lambda *labels: b.Usage(*labels[:-1]),
    c.USAGE_MISSING: b.UsageMissing,
    c.RUNS: b.Run,
    c.TASKS: b.Task,
    c.TASKS_RECEIVED: b.TaskReceived,
    c.RECEIVER_ITEMS: lambda dialect, outcome: b.ReceivedItems(dialect, outcome, 1),
}

#: Seconds between two writes of the charts. An exporter that is killed loses at most the points of this time.
_SAVE_INTERVAL = 300.0


class Lifecycle(Struct, frozen=True):
    """The state of the service. `waiting_for` says what delays its start; it is "" after the start.

    `loaded_at` is when the present configuration was loaded, in seconds since the epoch.
    """

    ready: bool
    waiting_for: str
    reload_problems: tuple[str, ...]
    loaded_at: float


class StatusMonitor:
    """Keeps recent failures and the history of the totals. A thread adds to the history while `is_ready`.

    With a state folder the history goes on after a restart.
    """

    def __init__(
        self, ledger: Ledger, sources: Iterable[Source], exemplars: Exemplars, is_ready: Callable[[], bool]
    ) -> None:
        self._ledger, self._sources, self._exemplars, self._is_ready = ledger, sources, exemplars, is_ready
        self._failures = FailureBuffer()
        self._history = History()
        self._folder: Path | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self, folder: Path | None) -> None:
        """`folder` is the state folder; None if there is none."""
        self._folder = folder
        if folder is not None:
            self._history.points |= history.load(folder)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def observed_ledger(self, settings: SourceConfig) -> LedgerPort:
        """The ledger for a source; its failures are recorded for the status page, its exemplars for scrapes."""
        return ObservedLedger(self._ledger, self._failures, self._exemplars, settings.parser)

    def health(self, lifecycle: Lifecycle) -> Mapping[str, Any]:
        done, known = self._progress()
        return {
            "status": "ok" if lifecycle.ready else "starting",
            "version": __version__,
            "waiting_for": lifecycle.waiting_for,
            "first_pass": {"done_bytes": done, "known_bytes": known},
            "sources": {
                source.name: {
                    "up": source.up,
                    "files": source.files,
                    "lag_bytes": source.lag,
                    "errors": dict(source.errors),
                }
                for source in self._sources
            },
        }

    def status(self, config: Config, lifecycle: Lifecycle, chart_range: str) -> Status:
        """The data of the status page. `chart_range` is a key of `RANGES`."""
        now = time.time()
        snapshot, points = self._ledger.snapshot(now), self._history.points[chart_range]
        period = recent(snapshot, time.monotonic(), self._history)
        days, samples = day_rows(self._ledger.books()), self._samples(config, snapshot)
        missing = _missing(config, snapshot, samples)
        return Status(
            version=__version__,
            now=now,
            ready=lifecycle.ready,
            progress=self._progress(),
            reload_problems=lifecycle.reload_problems,
            loaded_at=lifecycle.loaded_at,
            chart_range=chart_range,
            sources=source_rows(self._sources, config, snapshot, points, self._failures.unparsed()),
            missing=missing,
            span=period.span,
            routes=route_rows(period),
            traffic=traffic_rows(period),
            today=today_row(days, now, config.history.timezone),
            days=days,
            models=model_rows(snapshot, config),
            budgets=budget_rows(snapshot, config, now),
            failures=tuple(map(failure_row, self._failures.failures())),
            verdicts=tuple(alerts.evaluate(alerts.available_metrics(snapshot, config, samples.__getitem__))),
        )

    def _samples(self, config: Config, snapshot: Snapshot) -> dict[str, b.Batch]:
        """For each source, by name: a record of each type that its log is known to contain.

        The state knows it since the first start, and the buffer of failures since the last one.
        """
        found: dict[str, dict[type, b.Record]] = {source.name: {} for source in config.sources}
        for metric, record in _PROVEN.items():
            for source, *labels in snapshot.counters[metric]:
                proof = record(*labels)
                found.setdefault(source, {}).setdefault(type(proof), proof)
        for source in snapshot.active:
            found.setdefault(source, {})[b.Active] = b.Active("", 0, None)
        return {
            name: b.Batch(records=tuple({**known, **self._failures.samples(name)}.values()))
            for name, known in found.items()
        }

    def _progress(self) -> tuple[int, int]:
        """Of the bytes that existed at the start, how many are read, and how many there were."""
        progress = [source.first_pass.progress() for source in self._sources]
        return sum(done for done, _ in progress), sum(known for _, known in progress)

    def _run(self) -> None:
        saved_at = time.monotonic()
        while not self._stopping.wait(self._history.step()):
            if self._is_ready():
                self._history.add(time.monotonic(), self._ledger.snapshot(time.time()))
            if time.monotonic() - saved_at >= _SAVE_INTERVAL:
                saved_at = time.monotonic()
                self._save()
        self._save()

    def _save(self) -> None:
        if self._folder is not None:
            history.save(self._folder, self._history.points)


def _missing(config: Config, snapshot: Snapshot, samples: Mapping[str, b.Batch]) -> dict[str, list[str]]:
    """What the log of a source lacks and no other source contains: each sentence with the names of the sources.

    A source without an observed line gets no advice: it is not known yet which kind of log it is.
    """
    known = {each for sample in samples.values() for each in record_types(sample.records)}
    advice = (
        (source.name, each)
        for source in config.sources
        if snapshot.counters[c.LINES].get((source.name, "observed"))
        for each in advice_of(source.parser, samples[source.name], b"")
    )
    return dict(merged(advice, known))
