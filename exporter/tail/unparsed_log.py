"""Logs the unparsed lines of a source at most once per minute, with one redacted example per reason and field."""

import logging
from collections.abc import Callable

from exporter.messages import redact
from parsers.batch import Batch, DroppedValue

_log = logging.getLogger(__name__)

_PERIOD = 60.0


class UnparsedLogger:
    """A rate-limited logger for one source. `clock` returns seconds. Later counts are added to the next message."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        self._source, self._clock = source, clock
        #: The count and the first example of each message.
        self._found: dict[str, tuple[int, str]] = {}
        self._silent_until = float("-inf")

    def record(self, batch: Batch) -> None:
        """Count the unparsed lines and dropped values of a batch, and log the counts once per minute."""
        found = [
            (f"unparsed lines: %d ({reason})", count, batch.examples.get(reason, b""))
            for reason, count in batch.unparsed.items()
        ]
        found += [
            (f"{record.field} not understood: %d", record.count, record.example.encode())
            for record in batch.records
            if isinstance(record, DroppedValue)
        ]
        for message, count, example in found:
            before, shown = self._found.get(message, (0, ""))
            self._found[message] = before + count, shown or redact(example)
        if not self._found or self._clock() < self._silent_until:
            return
        self._silent_until = self._clock() + _PERIOD
        for message, (number, shown) in self._found.items():
            _log.warning(f"source %s: {message}, such as: %s", self._source, number, shown)
        self._found.clear()
