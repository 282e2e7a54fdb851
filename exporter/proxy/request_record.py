"""Collects the values of one request for its log line."""

import re
import time
from collections.abc import Mapping
from typing import Any

from exporter.proxy.log import RequestLog
from exporter.proxy.response_reader import ResponseReader, ResponseSummary
from parsers.dify.proxy import ProxyAttributes
from parsers.values.http import method_of

_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


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
        """Record that the head of Dify's response has arrived. `reader` will get the body."""
        self.status_code = status_code
        self._reader = reader
        self._time_to_first_byte = time.monotonic() - self._started_at

    def body_received(self, piece: bytes) -> None:
        """Read a piece of the body of Dify's response."""
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
            worker="",
            active_requests=0,
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
