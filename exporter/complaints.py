"""Says in our log what a source could not read: at most one line a minute, with one redacted example a reason."""

import logging
from collections import Counter
from collections.abc import Callable

from exporter.messages import redact
from parsers.batch import Batch

_log = logging.getLogger(__name__)

_PERIOD = 60.0


class Complaints:
    """Of one source. `clock` gives seconds; nothing is said twice, and what is held back is said with the next."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        self._source, self._clock = source, clock
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._silent_until = float("-inf")

    def hear(self, batch: Batch) -> None:
        """Takes note of a batch's unparsed lines."""
        self._counts.update(batch.unparsed)
        for reason in batch.examples.keys() - self._examples:
            self._examples[reason] = redact(batch.examples[reason])
        if not self._counts or self._clock() < self._silent_until:
            return
        self._silent_until = self._clock() + _PERIOD
        for reason, count in self._counts.items():
            example = self._examples.get(reason, "")
            _log.warning("source %s: unparsed lines: %d (%s), such as: %s", self._source, count, reason, example)
        self._counts.clear()
        self._examples.clear()
