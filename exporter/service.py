"""`serve`: the sources' threads, the committer and the listener, tied together."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
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


class Form(Struct, frozen=True):
    """How a scrape wants its text; those that want the same share one."""

    content_type: str
    created: bool
    names: frozenset[str]


class Service:
    """Everything that runs while `serve` does; an `exporter.web.pages.Answers`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets)
        self._sources: list[Source] = []
        self._threads: list[threading.Thread] = []
        self._wakes = {each.name: Wake() for each in config.sources}
        self._watch = Watch()
        self._stopping = threading.Event()
        self._first_pass = threading.Event()
        self._process: tuple[Collector, ...] = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._texts = Texts()
        self._loaded_at = time.time()
        self._told_errors: dict[tuple[str, str], int] = {}
        self.waiting_for = "the state to be read"

    def listen(self) -> None:
        """From now on requests are answered, if only that nothing is ready.

        Raises OSError where the address cannot be bound, ValueError where the certificate is no more.
        """
        host, port = address(self._config.exporter.listen)
        self._listener = Listener((host, port), self, self._config.web)
        log.info("listening on %s", self._listener.url)
        if not self._config.web.guarded and not loopback(host):
            log.warning(
                "whoever reaches %s reads the metrics: name basic_auth_users or client certificates in web_config, "
                "or listen on 127.0.0.1",
                self._listener.url,
            )

    def start(self, checkpoint: Checkpoint | None) -> None:
        """Goes on where the state ends. Raises PermissionError where it cannot be read."""
        if checkpoint is not None:
            self._resume(checkpoint)
        for each in self._config.sources:
            self._ledger.open(each.name)
        options = self._config.exporter
        self._committer = Committer(self._ledger, checkpoint, time.time, self._render)
        self._deadline = time.monotonic() + options.first_pass_timeout
        self._sources = [
            Source(
                each,
                self._ledger,
                time.monotonic,
                options.poll_interval,
                options.start_at,
                self._config.limits.line_length,
            )
            for each in self._config.sources
        ]
        self.waiting_for = ""
        self._watch.start()
        for source in self._sources:
            wake = self._wakes[source.name]
            self._watch.add(source.folders, wake)
            self._threads.append(threading.Thread(target=source.run, args=(self._stopping, wake), name=source.name))
            self._threads[-1].start()

    def stop(self) -> None:
        """Ends every thread and commits a last time."""
        self._stopping.set()
        for wake in self._wakes.values():
            wake.end()
        self._listener.close()
        if not self.waiting_for:
            self._watch.stop()
            for thread in self._threads:
                thread.join()
            self._committer.stop()
        log.info("stopped")

    def ready(self) -> bool:
        if not self._first_pass.is_set() and not self.waiting_for:
            late = time.monotonic() >= self._deadline
            if late or all(source.first_pass_done() for source in self._sources):
                self._first_pass.set()
                log.info("first pass %s", "given up for its time limit" if late else "done")
        return self._first_pass.is_set()

    def metrics(self, content_type: str, created: bool, names: frozenset[str]) -> bytes:
        self._count_errors()
        return self._committer.text(Form(content_type, created, names))

    def health(self) -> Mapping[str, Any]:
        done, known = (sum(column) for column in zip((0, 0), *(s.progress() for s in self._sources), strict=True))
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

    def _resume(self, checkpoint: Checkpoint) -> None:
        image, told = checkpoint.load()
        if image is not None:
            told += self._ledger.take_over(image, [each.name for each in self._config.sources])
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
        backlog = source.backlog
        return backlog > _BEHIND_BYTES or (
            backlog > 0 and now - snapshot.last_at.get(source.name, now) > _BEHIND_SECONDS
        )
