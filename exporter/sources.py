"""The sources that run, each on a thread of its own, and how a new configuration changes them.

A source whose table is unchanged goes on untouched. A changed one ends and begins anew where its positions are, as
after a restart; so nothing is lost and nothing counted twice. What a source has counted stays, also when it is
removed: put back, it goes on where it stopped.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from exporter import catalogue as c
from exporter.config.settings import Config, SourceConfig
from exporter.ledger.ledger import Ledger
from exporter.recent import Noting, Recent
from exporter.source import Source
from exporter.wake import Wake, Watch

_log = logging.getLogger(__name__)

#: Seconds that sources have to end; at a reload one that hangs in a mount keeps its old table.
_PATIENCE = 10.0


class _Running(Struct, frozen=True):
    """`terms` are what a source is made from; where they are equal it need not begin anew."""

    terms: tuple[SourceConfig, float, int]
    source: Source
    wake: Wake
    stopping: threading.Event
    thread: threading.Thread
    told: Counter[str]


class Sources:
    """`apply` and `stop` are called on one thread, the rest on any."""

    def __init__(self, ledger: Ledger, recent: Recent) -> None:
        self._ledger = ledger
        self._recent = recent
        self._watch = Watch()
        self._running: dict[str, _Running] = {}

    def __iter__(self) -> Iterator[Source]:
        return iter([each.source for each in list(self._running.values())])

    def start(self, config: Config) -> None:
        self._watch.start()
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Ends what is removed, begins what is new, and both for what is changed."""
        wanted = {
            table.name: (table, config.exporter.poll_interval, config.limits.line_length) for table in config.sources
        }
        leaving = [each for name, each in self._running.items() if wanted.get(name) != each.terms]
        self._end(leaving)
        for name, terms in wanted.items():
            if name not in self._running:
                self._begin(terms, config.exporter.start_at)
        # In the order of the file, as people read them.
        self._running = {name: self._running[name] for name in [*wanted, *(self._running.keys() - wanted)]}

    def stop(self) -> None:
        self._end(list(self._running.values()))
        self._watch.stop()

    def count_errors(self) -> None:
        """The sources count their troubles themselves; the ledger is told what is new."""
        for each in list(self._running.values()):
            self._count_errors(each)

    def _begin(self, terms: tuple[SourceConfig, float, int], start_at: str) -> None:
        table, poll_interval, line_length = terms
        self._ledger.open(table.name)
        books = Noting(self._ledger, self._recent, table.parser)
        source = Source(table, books, time.monotonic, poll_interval, start_at, line_length)
        wake, stopping = Wake(), threading.Event()
        # A daemon, so that one which hangs in a mount does not keep the process from ending.
        thread = threading.Thread(target=source.run, args=(stopping, wake), name=table.name, daemon=True)
        self._running[table.name] = _Running(terms, source, wake, stopping, thread, Counter())
        self._watch.add(source.folders, wake)
        thread.start()

    def _end(self, leaving: list[_Running]) -> None:
        for each in leaving:
            each.stopping.set()
            each.wake.end()
        deadline = time.monotonic() + _PATIENCE
        for each in leaving:
            each.thread.join(max(0.0, deadline - time.monotonic()))
            if each.thread.is_alive():
                _log.error("a source hangs, perhaps in a mount, and does not end: source=%s", each.source.name)
                continue
            self._watch.remove(each.wake)
            self._count_errors(each)
            del self._running[each.source.name]

    def _count_errors(self, each: _Running) -> None:
        for reason, count in dict(each.source.errors).items():
            self._ledger.count(c.SOURCE_ERRORS, (each.source.name, reason), count - each.told[reason])
            each.told[reason] = count
