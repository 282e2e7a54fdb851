"""The sources that run, each on a thread of its own, and how a new configuration changes them.

A source whose configuration is unchanged goes on untouched. A changed one ends and begins anew where its positions
are, as after a restart; so nothing is lost and nothing is counted twice. What a source has counted stays, also when the
source is removed: put back, it goes on where it stopped.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from exporter.tail.source import LedgerPort, Source, SourceSettings
from exporter.tail.wake import Wake, Watch

_log = logging.getLogger(__name__)

#: Seconds that sources have to end; at a reload one that hangs in a mount keeps its old configuration.
_PATIENCE = 10.0


class SourceTerms(Struct, frozen=True):
    """All that a source is made from; where they are equal it need not begin anew. `poll_interval` is in seconds,
    `line_length` in bytes.
    """

    settings: SourceSettings
    poll_interval: float
    line_length: int


class _Running(Struct, frozen=True):
    """`counted` are the errors that were passed on already, by reason."""

    terms: SourceTerms
    source: Source
    wake: Wake
    stopping: threading.Event
    thread: threading.Thread
    counted: Counter[str]


class Supervisor:
    """`apply` and `stop` are called on one thread, the rest on any. `ledger_of` gives what a source posts to, and
    `count_error` gets the name of a source, a reason, and how often it occurred since the last call.
    """

    def __init__(
        self, ledger_of: Callable[[SourceSettings], LedgerPort], count_error: Callable[[str, str, int], None]
    ) -> None:
        self._ledger_of, self._count_error = ledger_of, count_error
        self._watch = Watch()
        self._running: dict[str, _Running] = {}

    def __iter__(self) -> Iterator[Source]:
        return iter([each.source for each in list(self._running.values())])

    def start(self, wanted: Iterable[SourceTerms], start_at: str) -> None:
        self._watch.start()
        self.apply(wanted, start_at)

    def apply(self, wanted: Iterable[SourceTerms], start_at: str) -> None:
        """Ends what is removed, begins what is new, and both for what is changed."""
        terms = {each.settings.name: each for each in wanted}
        self._end([each for name, each in self._running.items() if terms.get(name) != each.terms])
        for name, each in terms.items():
            if name not in self._running:
                self._begin(each, start_at)
        # In the order of the configuration, as people read it.
        self._running = {name: self._running[name] for name in [*terms, *(self._running.keys() - terms)]}

    def stop(self) -> None:
        self._end(list(self._running.values()))
        self._watch.stop()

    def count_errors(self) -> None:
        """The sources count their errors themselves; the new ones are passed on."""
        for each in list(self._running.values()):
            self._count_errors(each)

    def _begin(self, terms: SourceTerms, start_at: str) -> None:
        name, ledger = terms.settings.name, self._ledger_of(terms.settings)
        source = Source(terms.settings, ledger, time.monotonic, terms.poll_interval, start_at, terms.line_length)
        wake, stopping = Wake(), threading.Event()
        # A daemon, so that one which hangs in a mount does not keep the process from ending.
        thread = threading.Thread(target=source.run, args=(stopping, wake), name=name, daemon=True)
        thread.start()
        self._running[name] = _Running(terms, source, wake, stopping, thread, Counter())
        self._watch.add(source.folders, wake)

    def _end(self, leaving: list[_Running]) -> None:
        for each in leaving:
            each.stopping.set()
            each.wake.end()
        deadline = time.monotonic() + _PATIENCE
        for each in leaving:
            each.thread.join(max(0.0, deadline - time.monotonic()))
            if each.thread.is_alive():
                _log.error(
                    "a source hangs, perhaps in a mount, and does not end: source=%s path=%s",
                    each.source.name,
                    each.source.busy_with,
                )
                continue
            self._watch.remove(each.wake)
            self._count_errors(each)
            del self._running[each.source.name]

    def _count_errors(self, each: _Running) -> None:
        for reason, count in dict(each.source.errors).items():
            self._count_error(each.source.name, reason, count - each.counted[reason])
            each.counted[reason] = count
