"""The service behind `serve`: it starts, reloads and stops the sources, the committer and the listener."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter import catalogue as c
from exporter.config.address import is_loopback, parse_address
from exporter.config.loader import ConfigError, load
from exporter.config.settings import NO_SOURCE, Config
from exporter.ledger.history import History
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.exemplars import Exemplars
from exporter.metrics.exposition import ScrapeOptions, Texts, render
from exporter.metrics.gauges import checkpoint_gauges, computed_gauges, reload_gauges, source_gauges
from exporter.persistence.archive import Archive
from exporter.persistence.checkpoint import Checkpoint
from exporter.persistence.committer import Committer
from exporter.process.limits import raise_fd_limit
from exporter.status.monitor import Lifecycle, StatusMonitor
from exporter.status.rows import Status
from exporter.tail.source import LedgerPort
from exporter.tail.source_config import SourceConfig, SourceOptions
from exporter.tail.supervisor import Supervisor
from exporter.web.listener import Listener

_log = logging.getLogger(__name__)


class Service:
    """All threads of `serve`. It is the `exporter.web.pages.Backend` of the listener."""

    def __init__(self, config: Config, file: Path) -> None:
        """`file` is the configuration file, which `reload` reads again."""
        self._config = config
        self._file = file
        budgets, is_stored = config.budgets, bool(config.exporter.state)
        self._ledger = Ledger(config.limits, time.time, config.buckets, config.prices, budgets, is_stored)
        if is_stored:
            history = History(config.history, config.limits, time.time)
            history.rereads = config.exporter.start_at == "beginning"
            self._ledger.keep_history(history)
        self._supervisor = Supervisor(
            self._open_ledger, lambda source, reason: self._ledger.count(c.SOURCE_ERRORS, (source, reason))
        )
        self._exemplars = Exemplars(config.limits, config.buckets)
        self._monitor = StatusMonitor(self._ledger, self._supervisor, self._exemplars, self.ready)
        self._stopping = threading.Event()
        self._first_pass, self._ending_first_pass = threading.Event(), threading.Lock()
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._texts = Texts()
        self._reloading = threading.Lock()
        self._loaded_at = time.time()
        self._reload_problems: tuple[str, ...] = ()
        self.waiting_for = "the state to be read"

    def listen(self) -> None:
        """Start the listener, which answers 503 until the service is ready.

        Raises OSError if the address cannot be bound, and ValueError if the certificate can no longer be loaded.
        """
        raise_fd_limit()
        self._listener = Listener(parse_address(self._config.exporter.listen), self, self._config.web)
        _log.info("listening on %s", self._listener.url)
        self._warn_if_open()

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Restore the state; None keeps none. Raises OSError if the state cannot be read."""
        if checkpoint is not None:
            state, warnings = checkpoint.load()
            if state is not None:
                warnings += self._ledger.restore(state, [each.name for each in self._config.sources])
            for warning in warnings:
                _log.warning("state: %s", warning)
        archive = None if checkpoint is None else Archive(checkpoint.folder, time.time)
        if archive is not None:
            archive.store(self._ledger)  # before a source that is added again reads its lines again
        self._committer = Committer(
            self._ledger, checkpoint, time.time, self._render, lambda: archive.store(self._ledger) if archive else None
        )
        self._state_folder = None if checkpoint is None else checkpoint.folder

    def start(self) -> None:
        """Start the sources."""
        self._deadline = time.monotonic() + self._config.exporter.first_pass_timeout
        self._supervisor.start(_source_options(self._config), self._config.exporter.start_at)
        self.waiting_for = ""
        self._monitor.start(self._state_folder)

    def stop(self) -> None:
        """Stop all threads and commit a last time."""
        self._stopping.set()
        self._listener.close()
        if not self.waiting_for:
            with self._reloading:
                self._supervisor.stop()
            self._monitor.stop()
            self._committer.stop()
        _log.info("stopped")

    def reload(self) -> tuple[str, ...]:
        """Read the configuration again and apply it; counters keep their values.

        Returns the problems of a refused configuration. Then nothing has changed, unless a thread could not be started.
        """
        with self._reloading:
            if self._stopping.is_set() or self.waiting_for:
                return ("the exporter is starting or stopping: reload again when it is ready",)
            try:
                config = load(self._file)
                self._reload_problems = tuple(_reload_problems(self._file, self._config, config))
                if not self._reload_problems:
                    self._listener.configure(config.web)
            except ConfigError as error:
                self._reload_problems = tuple(error.problems)
            except ValueError as error:  # the certificate was replaced by a bad one after it was checked
                self._reload_problems = (f"{self._file}: {error}",)
            for problem in self._reload_problems:
                _log.error("the new configuration is refused: %s", problem)
            if not self._reload_problems:
                self._apply(config)
            return self._reload_problems

    def _apply(self, config: Config) -> None:
        self._ledger.configure(config.limits, config.prices, config.budgets, config.history)
        self._config = config
        try:
            self._supervisor.apply(_source_options(config), config.exporter.start_at)
        except RuntimeError as error:  # no thread can be started
            self._reload_problems = (f"not every source runs: {error}; raise the limit and reload again",)
            _log.error("the configuration is reloaded in part: %s", *self._reload_problems)
            return
        self._loaded_at = time.time()
        _log.info("the configuration is reloaded")
        self._warn_if_open()

    def ready(self) -> bool:
        """Whether the first pass has ended: every source has read its backlog, or the time limit is over."""
        if self._first_pass.is_set() or self.waiting_for:
            return not self.waiting_for
        with self._ending_first_pass:
            is_late = time.monotonic() >= self._deadline
            if not self._first_pass.is_set() and (
                is_late or all(source.first_pass.is_done() for source in self._supervisor)
            ):
                self._committer.commit()  # each file's first position must survive a crash before the first scrape
                self._first_pass.set()
                _log.info(
                    "first pass %s", "not done within first_pass_timeout: metrics are served" if is_late else "done"
                )
            return self._first_pass.is_set()

    def metrics(self, options: ScrapeOptions) -> bytes:
        return self._committer.text(options)

    def health(self) -> Mapping[str, Any]:
        return self._monitor.health(self._lifecycle())

    def status(self, chart_range: str) -> Status:
        return self._monitor.status(self._config, self._lifecycle(), chart_range)

    def _lifecycle(self) -> Lifecycle:
        return Lifecycle(self.ready(), self.waiting_for, self._reload_problems, self._loaded_at)

    def _warn_if_open(self) -> None:
        if not self._config.web.requires_authentication and not is_loopback(
            parse_address(self._config.exporter.listen)[0]
        ):
            _log.warning(
                "anyone who can reach %s can read the metrics: set basic_auth_users or client certificates in "
                "web_config, or listen on 127.0.0.1",
                self._listener.url,
            )

    def _open_ledger(self, source: SourceConfig) -> LedgerPort:
        parse = partial(source.parser.parse_part, line_length=self._config.limits.line_length)
        self._ledger.open(source.name, parse)
        return self._monitor.observed_ledger(source)

    def _render(self, snapshot: Snapshot, options: ScrapeOptions) -> bytes:
        now = time.time()
        gauges = computed_gauges(snapshot, self._config, now)
        gauges |= source_gauges(self._supervisor, snapshot, now)
        gauges |= reload_gauges(not self._reload_problems, self._loaded_at)
        if self._config.exporter.state:
            gauges |= checkpoint_gauges(self._committer.errors, self._committer.stored_at)
        exemplars = self._exemplars.by_metric()
        return render(snapshot, gauges, options, process=self._process, texts=self._texts, exemplars=exemplars)


def _source_options(config: Config) -> list[SourceOptions]:
    return [SourceOptions(each, config.exporter.poll_interval, config.limits.line_length) for each in config.sources]


def _reload_problems(file: Path, old: Config, new: Config) -> Iterator[str]:
    """One sentence for each reason why a running exporter cannot change from the old to the new configuration."""
    for key in ("listen", "state"):
        if getattr(old.exporter, key) != getattr(new.exporter, key):
            yield f"{file}: [exporter]: {key} cannot change while the exporter runs: restart it, or undo the change"
    if old.buckets != new.buckets:
        yield (
            f"{file}: [buckets] cannot change while the exporter runs, because histograms would start again at 0: "
            "restart it, or undo the change"
        )
    if not new.sources:
        yield f"{file}: {NO_SOURCE}"
