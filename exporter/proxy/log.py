"""The log of one worker: a line with the values of each request, and a heartbeat with the number of active ones."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from exporter.proxy.response_reader import ResponseReader, ResponseSummary
from exporter.wsgi.log_file import LogFile
from parsers.dify.proxy import SERVICE, ProxyAttributes, ProxyHeartbeat, ProxyLine, encode
from parsers.values.http import method_of

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = ProxyHeartbeat()
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


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


class RequestRecord:
    """The record of one request. It counts as active until `finish`, which writes the line.

    If the proxy itself responds, `status_code` is set, and the time to Dify's first byte is not known.
    """

    def __init__(self, environ: Mapping[str, Any], route: str, app_id: str | None, log: RequestLog) -> None:
        self.route = route
        self.status_code, self.outcome = 0, "ok"
        self.is_streaming = False
        self.request_bytes = self.response_bytes = 0
        self._started_at = time.monotonic()
        self._time_to_first_byte: float | None = None
        self._reader: ResponseReader | None = None
        self._method = method_of(str(environ["REQUEST_METHOD"]).encode("latin-1"))
        self._trace_parent = _TRACE_PARENT.fullmatch(str(environ.get("HTTP_TRACEPARENT", "")))
        self._app_id, self._log = app_id, log
        self._is_active = True
        log.active += 1

    def response_started(self, status_code: int, reader: ResponseReader | None) -> None:
        self.status_code = status_code
        self._reader = reader
        self._time_to_first_byte = time.monotonic() - self._started_at

    def body_received(self, piece: bytes) -> None:
        if self._reader:
            self._reader.feed(piece, time.monotonic())

    def finish(self) -> None:
        """Write the line: the last byte was sent, or the request was aborted. Later calls have no effect."""
        if not self._is_active:
            return
        self._is_active = False
        self._log.active -= 1
        duration = time.monotonic() - self._started_at
        summary = self._reader.result() if self._reader else ResponseSummary()
        first_token_at = summary.first_token_at
        status_code = 499 if self.outcome == "client_closed" else self.status_code
        attributes = ProxyAttributes(
            method=self._method,
            route=self.route,
            status_code=status_code,
            duration=round(duration, 6),
            time_to_first_byte=_rounded(self._time_to_first_byte),
            time_to_first_token=_rounded(first_token_at - self._started_at if first_token_at else None),
            request_size=self.request_bytes,
            response_size=self.response_bytes,
            outcome=summary.outcome if self.outcome == "ok" else self.outcome,
            streaming=self.is_streaming,
            error_code=summary.error_code,
            error_kind=summary.error_kind,
            app_id=self._app_id,
            usage=summary.usage,
        )
        message = f"{self._method} {self.route} {status_code} {duration * 1000:.3f}"
        self._log.write(attributes, message, self._trace_parent[1] if self._trace_parent else "")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
