"""What a worker writes down: a line when a request ends, and a heartbeat that says how many it holds."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import structs

from exporter.proxy.file import LogFile
from parsers.dify.proxy import HEARTBEAT_EVENT, ProxyAttributes, ProxyLine, encode

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = ProxyAttributes(event=HEARTBEAT_EVENT, worker="", active_requests=0)


class RequestLog:
    """The lines of one worker. `clock` gives seconds since the epoch, `worker` is its name in them."""

    def __init__(self, file: LogFile, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._worker = worker
        self._clock = clock
        self.active = 0
        self._dropped = 0
        self._told_active = 0
        self._told_at = 0.0

    def write(self, attributes: ProxyAttributes, message: str, trace_id: str) -> None:
        """A request's line. One that cannot be written is counted in the next."""
        if not self._append(attributes, message, trace_id):
            self._dropped += 1

    def heartbeat(self) -> None:
        """Writes one where the number of requests has changed or nothing was written for a while."""
        if self.active != self._told_active or self._clock() - self._told_at >= _HEARTBEAT_SECONDS:
            self._append(_HEARTBEAT, "heartbeat", "")

    def farewell(self) -> None:
        """The worker has ended, however it did: it holds nothing any more."""
        self.active = 0
        self._append(_HEARTBEAT, "heartbeat", "")

    def reopen(self) -> None:
        """The file was rotated (SIGUSR1)."""
        self._file.close()

    def _append(self, attributes: ProxyAttributes, message: str, trace_id: str) -> bool:
        now = self._clock()
        line = ProxyLine(
            ts=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            severity="INFO",
            service="dify-exporter-proxy",
            caller="proxy",
            message=message,
            trace_id=trace_id,
            attributes=structs.replace(
                attributes, worker=self._worker, active_requests=self.active, dropped_lines=self._dropped
            ),
        )
        if not self._file.append(encode(line)):
            return False
        self._dropped, self._told_active, self._told_at = 0, self.active, now
        return True
