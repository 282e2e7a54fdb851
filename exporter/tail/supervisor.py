"""Runs the sources, each on its own thread, and applies a new configuration to them.

A source with an unchanged configuration keeps running. A changed source is stopped and started again at its stored
positions, as after a restart, so no line is lost and none is counted twice. The counters and positions of a removed
source stay in the ledger: if the source is added again, it continues where it stopped.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from exporter.tail.source import LedgerPort, Source
from exporter.tail.source_config import SourceConfig, SourceOptions
from exporter.tail.wake import FolderWatcher, Wake

_log = logging.getLogger(__name__)

#: Seconds to wait for sources to stop. At a reload, a source that hangs in a mount keeps its old configuration.
_STOP_TIMEOUT_SECONDS = 10.0


class _Running(Struct, frozen=True):
    options: SourceOptions
    source: Source
    wake: Wake
    stopping: threading.Event
    thread: threading.Thread


class Supervisor:
    """Starts and stops sources. Call `apply` and `stop` on one thread, the other methods on any thread.

    `ledger_of` returns the ledger that a source posts to. `count_error` gets the name of a source and a reason.
    """

    def __init__(
        self, ledger_of: Callable[[SourceConfig], LedgerPort], count_error: Callable[[str, str], None]
    ) -> None:
        self._ledger_of, self._count_error = ledger_of, count_error
        self._watch = FolderWatcher()
        self._running: dict[str, _Running] = {}

    def __iter__(self) -> Iterator[Source]:
        return iter([each.source for each in list(self._running.values())])

    def start(self, wanted: Iterable[SourceOptions], start_at: str) -> None:
        self._watch.start()
        self.apply(wanted, start_at)

    def apply(self, wanted: Iterable[SourceOptions], start_at: str) -> None:
        """Stop removed sources, start new ones, and restart changed ones."""
        options = {each.config.name: each for each in wanted}
        self._end([each for name, each in self._running.items() if options.get(name) != each.options])
        for name, each in options.items():
            if name not in self._running:
                self._begin(each, start_at)
        # Keep the order of the configuration.
        self._running = {name: self._running[name] for name in [*options, *(self._running.keys() - options)]}

    def stop(self) -> None:
        self._end(list(self._running.values()))
        self._watch.stop()

    def _begin(self, options: SourceOptions, start_at: str) -> None:
        name, ledger = options.config.name, self._ledger_of(options.config)
        source = Source(options, ledger, time.monotonic, start_at, self._count_error)
        wake, stopping = Wake(), threading.Event()
        # A daemon thread, so that a source that hangs in a mount does not prevent the process from exiting.
        thread = threading.Thread(target=source.run, args=(stopping, wake), name=name, daemon=True)
        thread.start()
        self._running[name] = _Running(options, source, wake, stopping, thread)
        self._watch.add(source.folders, wake)

    def _end(self, leaving: list[_Running]) -> None:
        for each in leaving:
            each.stopping.set()
            each.wake.end()
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        for each in leaving:
            each.thread.join(max(0.0, deadline - time.monotonic()))
            if each.thread.is_alive():
                _log.error(
                    "a source does not stop, perhaps because a mount hangs: source=%s path=%s",
                    each.source.name,
                    each.source.busy_with,
                )
                continue
            self._watch.remove(each.wake)
            del self._running[each.source.name]
