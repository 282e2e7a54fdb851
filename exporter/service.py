"""`serve`: the sources' threads, the committer and the listener, tied together."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter import __version__
from exporter import catalogue as c
from exporter.advice import alerts
from exporter.config.address import address, loopback
from exporter.config.loader import ConfigError, load
from exporter.config.settings import Config
from exporter.ledger.ledger import Ledger, Snapshot
from exporter.metrics.exposition import Gauges, Texts, render
from exporter.metrics.gauges import build_information, computed_gauges
from exporter.persistence.checkpoint import Checkpoint
from exporter.persistence.committer import Committer
from exporter.process.fd_limit import raise_fd_limit
from exporter.status.failures import FailureBuffer, ObservedLedger
from exporter.status.history import History
from exporter.status.rows import (
    TODAY,
    SourceState,
    Status,
    budget_rows,
    model_rows,
    route_rows,
    source_rows,
    today,
)
from exporter.tail.source import LedgerPort, Source, SourceSettings
from exporter.tail.supervisor import SourceTerms, Supervisor
from exporter.web.listener import Listener

log = logging.getLogger(__name__)

_BEHIND_BYTES = 1 << 20
_BEHIND_SECONDS = 10.0


class Form(Struct, frozen=True):
    """How a scrape wants its text; those that want the same share one."""

    content_type: str
    created: bool
    names: frozenset[str]


class Service:
    """Everything that runs while `serve` does; an `exporter.web.pages.Backend`."""

    def __init__(self, config: Config, file: Path) -> None:
        """`file` is where the configuration came from, and is read again by `reload`."""
        self._config = config
        self._file = file
        budgets = (*config.budgets, TODAY)
        self._ledger = Ledger(config.limits, time.time, config.buckets, config.prices, budgets)
        self._recent = FailureBuffer()
        self._sources = Supervisor(self._ledger_of, self._count_error)
        self._history = History()
        self._stopping = threading.Event()
        self._remembering = threading.Thread(target=self._remember, name="history", daemon=True)
        self._first_pass = threading.Event()
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._texts = Texts()
        self._reloading = threading.Lock()
        self._loaded_at = time.time()
        self._refused: tuple[str, ...] = ()
        self.waiting_for = "the state to be read"

    def listen(self) -> None:
        """From now on requests are answered, if only that nothing is ready.

        Raises OSError where the address cannot be bound, ValueError where the certificate is no more.
        """
        raise_fd_limit()
        self._listener = Listener(address(self._config.exporter.listen), self, self._config.web)
        log.info("listening on %s", self._listener.url)
        self._warn_if_open()

    def start(self, checkpoint: Checkpoint | None) -> None:
        """Goes on where the state ends. Raises PermissionError where it cannot be read."""
        if checkpoint is not None:
            self._resume(checkpoint)
        self._committer = Committer(self._ledger, checkpoint, time.time, self._render)
        self._deadline = time.monotonic() + self._config.exporter.first_pass_timeout
        self._sources.start(_terms(self._config), self._config.exporter.start_at)
        self.waiting_for = ""
        self._remembering.start()

    def stop(self) -> None:
        """Ends every thread and commits a last time."""
        self._stopping.set()
        self._listener.close()
        if not self.waiting_for:
            with self._reloading:
                self._sources.stop()
            self._remembering.join()
            self._committer.stop()
        log.info("stopped")

    def reload(self) -> tuple[str, ...]:
        """Reads the configuration again; no counter begins anew. What is wrong with it, and then nothing changes."""
        with self._reloading:
            if self._stopping.is_set() or self.waiting_for:
                return ("there is nothing to reload yet, or any more",)
            try:
                config = load(self._file)
                self._refused = tuple(_fixed(self._file, self._config, config))
                if not self._refused:
                    self._listener.configure(config.web)
            except ConfigError as error:
                self._refused = tuple(error.problems)
            except ValueError as error:  # the certificate was replaced by a bad one since it was checked
                self._refused = (f"{self._file}: {error}",)
            for problem in self._refused:
                log.error("the new configuration is refused: %s", problem)
            if not self._refused:
                self._ledger.configure(config.limits, config.prices, (*config.budgets, TODAY))
                self._config = config
                try:
                    self._sources.apply(_terms(config), config.exporter.start_at)
                except RuntimeError as error:  # no thread can be started
                    self._refused = (f"not every source runs: {error}; raise the limit and reload again",)
                    log.error("the configuration is reloaded in part: %s", *self._refused)
                    return self._refused
                self._loaded_at = time.time()
                log.info("the configuration is reloaded")
                self._warn_if_open()
            return self._refused

    def ready(self) -> bool:
        if not self._first_pass.is_set() and not self.waiting_for:
            late = time.monotonic() >= self._deadline
            if late or all(source.first_pass_done() for source in self._sources):
                self._committer.commit()  # where each file begins must survive a crash before the first scrape
                self._first_pass.set()
                log.info("first pass %s", "given up for its time limit" if late else "done")
        return self._first_pass.is_set()

    def metrics(self, content_type: str, created: bool, names: frozenset[str]) -> bytes:
        self._sources.count_errors()
        return self._committer.text(Form(content_type, created, names))

    def health(self) -> Mapping[str, Any]:
        done, known = self._progress()
        return {
            "status": "ok" if self.ready() else "starting",
            "version": __version__,
            "waiting_for": self.waiting_for,
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

    def status(self) -> Status:
        now, config = time.time(), self._config
        snapshot, points = self._ledger.snapshot(now), self._history.points()
        span, routes = route_rows(snapshot, time.monotonic(), self._history)
        return Status(
            version=__version__,
            now=now,
            ready=self.ready(),
            progress=self._progress(),
            reload_problems=self._refused,
            loaded_at=self._loaded_at,
            sources=source_rows(self._states(), snapshot, points, self._recent),
            span=span,
            routes=routes,
            today=today(snapshot, now),
            models=model_rows(snapshot, config),
            budgets=budget_rows(snapshot, config, now),
            failures=tuple(self._recent.failures()),
            verdicts=tuple(alerts.judge(alerts.live(snapshot, config, self._recent.sample))),
        )

    def _states(self) -> list[SourceState]:
        tables = {table.name: table for table in self._config.sources}
        return [
            SourceState(
                source.name,
                tables[source.name].paths,
                source.up,
                source.files,
                source.lag,
                dict(source.errors),
                tables[source.name].parser.advice(self._recent.sample(source.name)),
            )
            for source in self._sources
            if source.name in tables
        ]

    def _progress(self) -> tuple[int, int]:
        """Bytes read of those found at the start, and those found."""
        done, known = (sum(column) for column in zip((0, 0), *(s.progress() for s in self._sources), strict=True))
        return done, known

    def _remember(self) -> None:
        while not self._stopping.wait(self._history.step()):
            if self.ready():
                self._history.add(time.monotonic(), self._ledger.snapshot(time.time()))

    def _warn_if_open(self) -> None:
        if not self._config.web.guarded and not loopback(address(self._config.exporter.listen)[0]):
            log.warning(
                "whoever reaches %s reads the metrics: name basic_auth_users or client certificates in web_config, "
                "or listen on 127.0.0.1",
                self._listener.url,
            )

    def _ledger_of(self, settings: SourceSettings) -> LedgerPort:
        """What a source posts to, with the series that exist from its first moment."""
        self._ledger.open(settings.name)
        return ObservedLedger(self._ledger, self._recent, settings.parser)

    def _count_error(self, source: str, reason: str, count: int) -> None:
        self._ledger.count(c.SOURCE_ERRORS, (source, reason), count)

    def _resume(self, checkpoint: Checkpoint) -> None:
        state, told = checkpoint.load()
        if state is not None:
            told += self._ledger.restore(state, [each.name for each in self._config.sources])
        for sentence in told:
            log.warning("state: %s", sentence)

    def _render(self, snapshot: Snapshot, form: Form) -> bytes:
        return render(
            snapshot,
            self._gauges(snapshot),
            form.content_type,
            created=form.created,
            process=self._process,
            texts=self._texts,
            names=form.names,
        )

    def _gauges(self, snapshot: Snapshot) -> Gauges:
        now = time.time()
        gauges = computed_gauges(snapshot, self._config, now)
        for source in self._sources:
            name = (source.name,)
            gauges.setdefault(c.SOURCE_UP, {})[name] = float(source.up)
            gauges.setdefault(c.SOURCE_RECOGNISED, {})[name] = float(source.recognised)
            gauges.setdefault(c.SOURCE_FILES, {})[name] = float(source.files)
            gauges.setdefault(c.LAG_BYTES, {})[name] = float(source.lag)
            gauges.setdefault(c.CATCHING_UP, {})[name] = float(self._behind(source, snapshot, now))
        gauges[c.BUILD_INFO] = build_information()
        gauges[c.RELOAD_SUCCESSFUL] = {(): float(not self._refused)}
        gauges[c.RELOAD_TIMESTAMP] = {(): self._loaded_at}
        if self._config.exporter.state:
            gauges[c.CHECKPOINT_ERRORS] = {(): float(self._committer.errors)}
            gauges[c.CHECKPOINT_TIMESTAMP] = {(): self._committer.stored_at}
        return gauges

    @staticmethod
    def _behind(source: Source, snapshot: Snapshot, now: float) -> bool:
        """Old event times alone are no backlog: a quiet log is not behind."""
        backlog = source.backlog
        return backlog > _BEHIND_BYTES or (
            backlog > 0 and now - snapshot.last_at.get(source.name, now) > _BEHIND_SECONDS
        )


def _terms(config: Config) -> list[SourceTerms]:
    return [SourceTerms(each, config.exporter.poll_interval, config.limits.line_length) for each in config.sources]


def _fixed(file: Path, old: Config, new: Config) -> Iterator[str]:
    """What a reload cannot change."""
    for key in ("listen", "state"):
        if getattr(old.exporter, key) != getattr(new.exporter, key):
            yield f"{file}: [exporter]: {key} cannot change while the exporter runs: restart it, or put it back"
    if old.buckets != new.buckets:
        yield f"{file}: [buckets] cannot change while the exporter runs, histograms would begin anew: restart it"
    if not new.sources:
        yield f"{file}: no [[source]] table, expected at least one; see exporter.toml for examples"
