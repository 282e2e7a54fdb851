"""Logs the unparsed lines of a source at most once per minute, with one redacted example per reason and field."""

import logging
from collections import Counter
from collections.abc import Callable

from msgspec import structs

from exporter.messages import redact
from parsers.batch import Batch, DroppedValue

_log = logging.getLogger(__name__)

_PERIOD = 60.0


class UnparsedLogger:
    """A rate-limited logger for one source. `clock` returns seconds. Later counts are added to the next message."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        self._source, self._clock = source, clock
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._dropped: dict[str, DroppedValue] = {}
        self._silent_until = float("-inf")

    def record(self, batch: Batch) -> None:
        """Count the unparsed lines and dropped values of a batch, and log the counts once per minute."""
        for record in batch.records:
            if isinstance(record, DroppedValue):
                known = self._dropped.setdefault(record.field, structs.replace(record, count=0))
                self._dropped[record.field] = structs.replace(known, count=known.count + record.count)
        self._counts.update(batch.unparsed)
        for reason in batch.examples.keys() - self._examples:
            self._examples[reason] = redact(batch.examples[reason])
        if not (self._counts or self._dropped) or self._clock() < self._silent_until:
            return
        self._silent_until = self._clock() + _PERIOD
        for reason, count in self._counts.items():
            example = self._examples.get(reason, "")
            _log.warning("source %s: unparsed lines: %d (%s), such as: %s", self._source, count, reason, example)
        for field, value in self._dropped.items():
            example = redact(value.example.encode())
            _log.warning("source %s: %s not understood: %d, such as: %s", self._source, field, value.count, example)
        self._dropped.clear()
        self._counts.clear()
        self._examples.clear()
