"""The log of one worker: a line when a request ends, and a heartbeat with the number of active requests."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import structs

from exporter.wsgi.log_file import LogFile
from parsers.dify.proxy import SERVICE, ProxyAttributes, ProxyHeartbeat, ProxyLine, encode

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = ProxyHeartbeat()


class RequestLog:
    """Writes the lines of one worker. `worker` is the worker's name in them; `clock` returns seconds since the epoch.

    `active` is the number of active requests. The caller keeps it up to date.
    """

    def __init__(self, file: LogFile, worker: str, clock: Callable[[], float] = time.time) -> None:
        self._file, self._worker, self._clock = file, worker, clock
        self.active = 0
        self._dropped = 0
        self._logged_active = 0
        self._logged_at = 0.0

    def write(self, attributes: ProxyAttributes, message: str, trace_id: str) -> None:
        """Write the line of a request. If this fails, the next line reports one more dropped line."""
        if not self._append(attributes, message, trace_id):
            self._dropped += 1

    def heartbeat(self) -> None:
        """Write a heartbeat if the number of active requests has changed or the last line is 10 s old."""
        age = self._clock() - self._logged_at  # negative after the clock was set back
        if self.active != self._logged_active or not 0 <= age < _HEARTBEAT_SECONDS:
            self._append(_HEARTBEAT, "heartbeat", "")

    def worker_ended(self) -> None:
        """Log that the worker has no active requests because it has ended, normally or not."""
        self.active = 0
        self._append(_HEARTBEAT, "heartbeat", "")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, attributes: ProxyAttributes, message: str, trace_id: str) -> bool:
        now = self._clock()
        line = ProxyLine(
            ts=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            severity="INFO",
            service=SERVICE,
            caller="proxy",
            message=message,
            trace_id=trace_id,
            attributes=structs.replace(
                attributes, worker=self._worker, active_requests=self.active, dropped_lines=self._dropped
            ),
        )
        if not self._file.append(encode(line)):
            return False
        self._dropped, self._logged_active, self._logged_at = 0, self.active, now
        return True
