"""`serve`: the sources' threads, the committer and the listener, tied together."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter import __version__
from exporter import catalogue as c
from exporter.address import address, loopback
from exporter.checkpoint import Checkpoint
from exporter.commit import Committer
from exporter.exposition import Gauges, Texts, render
from exporter.gauges import build_information, looked_up
from exporter.ledger import Ledger, Snapshot
from exporter.settings import Config
from exporter.source import Source
from exporter.wake import Wake, Watch
from exporter.web.listener import Listener

log = logging.getLogger(__name__)

_BEHIND_BYTES = 1 << 20
_BEHIND_SECONDS = 10.0


class Service:
    """Everything that runs while `serve` does; an `exporter.web.pages.Answers`."""

    def __init__(self, config: Config, folder: Path) -> None:
        """`folder` is the configuration's. Raises OSError where the state cannot be written, and
        checkpoint.LockedError where another exporter holds it.
        """
        self._config = config
        self._ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets)
        state = config.exporter.state
        checkpoint = Checkpoint(folder / state) if state else None
        if checkpoint is not None:
            self._resume(checkpoint)
        for each in config.sources:
            self._ledger.open(each.name)
        self._wakes = {each.name: Wake() for each in config.sources}
        self._sources = [
            Source(
                each,
                self._ledger,
                time.monotonic,
                config.exporter.poll_interval,
                config.exporter.start_at,
                config.limits.line_length,
            )
            for each in config.sources
        ]
        self._watch = Watch()
        self._stopping = threading.Event()
        self._first_pass = threading.Event()
        self._threads = [
            threading.Thread(target=source.run, args=(self._stopping, self._wakes[source.name]), name=source.name)
            for source in self._sources
        ]
        self._committer = Committer(self._ledger, checkpoint, time.time)
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._texts = Texts()
        self._loaded_at = time.time()
        self._told_errors: dict[tuple[str, str], int] = {}
        self._deadline = time.monotonic() + config.exporter.first_pass_timeout

    def start(self) -> None:
        """Raises OSError where the address cannot be bound, ValueError where the certificate is no more."""
        host, port = address(self._config.exporter.listen)
        self._listener = Listener((host, port), self, self._config.web)
        log.info("listening on %s", self._listener.url)
        if not self._config.web.guarded and not loopback(host):
            log.warning(
                "whoever reaches %s reads the metrics: name basic_auth_users or client certificates in web_config, "
                "or listen on 127.0.0.1",
                self._listener.url,
            )
        self._watch.start()
        for source, thread in zip(self._sources, self._threads, strict=True):
            self._watch.add(source.folders, self._wakes[source.name])
            thread.start()

    def stop(self) -> None:
        """Ends every thread and commits a last time."""
        self._stopping.set()
        for wake in self._wakes.values():
            wake.end()
        self._listener.close()
        self._watch.stop()
        for thread in self._threads:
            thread.join()
        self._committer.stop()
        log.info("stopped")

    def ready(self) -> bool:
        if not self._first_pass.is_set():
            late = time.monotonic() >= self._deadline
            if late or all(source.first_pass_done() for source in self._sources):
                self._first_pass.set()
                log.info("first pass %s", "given up for its time limit" if late else "done")
        return self._first_pass.is_set()

    def metrics(self, content_type: str, created: bool, names: frozenset[str]) -> bytes:
        self._count_errors()
        snapshot = self._committer.snapshot()
        gauges = self._gauges(snapshot)
        return render(
            snapshot, gauges, content_type, created=created, process=self._process, texts=self._texts, names=names
        )

    def health(self) -> Mapping[str, Any]:
        done, known = (sum(column) for column in zip((0, 0), *(s.progress() for s in self._sources), strict=True))
        return {
            "status": "ok" if self.ready() else "starting",
            "version": __version__,
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

    def _resume(self, checkpoint: Checkpoint) -> None:
        image, told = checkpoint.load()
        if image is not None:
            told += self._ledger.take_over(image, [each.name for each in self._config.sources])
        for sentence in told:
            log.warning("state: %s", sentence)

    def _count_errors(self) -> None:
        """The sources count their troubles themselves; the ledger is told what is new."""
        for source in self._sources:
            for reason, count in dict(source.errors).items():
                key = (source.name, reason)
                self._ledger.count(c.SOURCE_ERRORS, key, count - self._told_errors.get(key, 0))
                self._told_errors[key] = count

    def _gauges(self, snapshot: Snapshot) -> Gauges:
        now = time.time()
        gauges = looked_up(snapshot, self._config, now)
        for source in self._sources:
            name = (source.name,)
            gauges.setdefault(c.SOURCE_UP, {})[name] = float(source.up)
            gauges.setdefault(c.SOURCE_FILES, {})[name] = float(source.files)
            gauges.setdefault(c.LAG_BYTES, {})[name] = float(source.lag)
            gauges.setdefault(c.CATCHING_UP, {})[name] = float(self._behind(source, snapshot, now))
        gauges[c.BUILD_INFO] = build_information()
        gauges[c.RELOAD_SUCCESSFUL] = {(): 1.0}
        gauges[c.RELOAD_TIMESTAMP] = {(): self._loaded_at}
        if self._config.exporter.state:
            gauges[c.CHECKPOINT_ERRORS] = {(): float(self._committer.errors)}
            gauges[c.CHECKPOINT_TIMESTAMP] = {(): self._committer.stored_at}
        return gauges

    @staticmethod
    def _behind(source: Source, snapshot: Snapshot, now: float) -> bool:
        """Old event times alone are no backlog: a quiet log is not behind."""
        lag = source.lag
        return lag > _BEHIND_BYTES or (lag > 0 and now - snapshot.last_at.get(source.name, now) > _BEHIND_SECONDS)
