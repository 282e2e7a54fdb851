"""One request from its head to its line."""

import re
import time
from collections.abc import Mapping
from typing import Any

from exporter.proxy.log import RequestLog
from exporter.proxy.response_reader import ResponseReader
from parsers.dify.proxy import REQUEST_EVENT, ProxyAttributes
from parsers.values.http import method_of

_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class RequestRecord:
    """What the line says, gathered while the request is served. `end` writes it, once."""

    def __init__(self, environ: Mapping[str, Any], route: str, app_id: str | None, log: RequestLog) -> None:
        self.route = route
        self.outcome = "ok"
        self.streaming = False
        self.request_bytes = 0
        self.response_bytes = 0
        self._begun = time.monotonic()
        self._status_code = 0
        self._first_byte: float | None = None
        self._reading: ResponseReader | None = None
        self._method = method_of(str(environ["REQUEST_METHOD"]).encode("latin-1"))
        self._trace = _TRACE_PARENT.fullmatch(str(environ.get("HTTP_TRACEPARENT", "")))
        self._app_id = app_id
        self._log = log
        self._open = True
        log.active += 1

    def answered(self, status_code: int, reading: ResponseReader | None) -> None:
        """The head of Dify's answer has come; `reading` is to be fed with its body."""
        self._status_code = status_code
        self._reading = reading
        self._first_byte = time.monotonic() - self._begun

    def refused(self, status_code: int) -> None:
        """The answer is our own: no byte of it tells how quick Dify is."""
        self._status_code = status_code

    def cut_off(self) -> None:
        """The worker ends before an answer has come."""
        self.refused(502)
        self.outcome = "upstream_reset"

    def passed(self, piece: bytes) -> None:
        """A piece of the answer's body has come."""
        if self._reading:
            self._reading.feed(piece, time.monotonic())

    def end(self) -> None:
        """The last byte is out, or nobody waits for it any more."""
        if not self._open:
            return
        self._open = False
        self._log.active -= 1
        duration = time.monotonic() - self._begun
        read = self._reading.result() if self._reading else None
        status_code = 499 if self.outcome == "client_closed" else self._status_code
        outcome = read.outcome if read and self.outcome == "ok" else self.outcome
        attributes = ProxyAttributes(
            event=REQUEST_EVENT,
            worker="",
            active_requests=0,
            method=self._method,
            route=self.route,
            status_code=status_code,
            duration=round(duration, 6),
            time_to_first_byte=_seconds(self._first_byte),
            time_to_first_token=_seconds(read.first_token - self._begun if read and read.first_token else None),
            request_size=self.request_bytes,
            response_size=self.response_bytes,
            outcome=outcome,
            streaming=self.streaming,
            error_code=read.error_code if read else None,
            error_kind=read.error_kind if read else None,
            app_id=self._app_id,
            usage=read.usage if read else (),
        )
        message = f"{self._method} {self.route} {status_code} {duration * 1000:.3f}"
        self._log.write(attributes, message, self._trace[1] if self._trace else "")


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
