"""A listener with a small backend, and a client that uses raw sockets."""

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from msgspec import structs

from exporter.config.web import WebConfig
from exporter.metrics.exposition import ScrapeOptions
from exporter.status.rows import Status
from exporter.web.listener import Listener

BODY = b"a_metric 1\n" * 500


class Service:
    """A backend with a fixed exposition text. It records the arguments of `metrics`."""

    def __init__(self, body: bytes = BODY) -> None:
        self.body = body
        self.is_ready = True
        self.reloads = 0
        self.problems: tuple[str, ...] = ()
        self.asked: list[tuple[str, bool, frozenset[str]]] = []

    def ready(self) -> bool:
        return self.is_ready

    def metrics(self, options: ScrapeOptions) -> bytes:
        self.asked.append((options.content_type, options.created, options.names))
        return self.body

    def health(self) -> Mapping[str, Any]:
        progress = {"done_bytes": 3, "known_bytes": 5}
        return {
            "status": "ok" if self.is_ready else "starting",
            "version": "1",
            "waiting_for": "",
            "first_pass": progress,
            "sources": {},
        }

    def status(self, chart_range: str) -> Status:
        return status(chart_range=chart_range)

    def reload(self) -> Sequence[str]:
        self.reloads += 1
        return self.problems


def status(**changes: Any) -> Status:
    """The status of an exporter that has just started."""
    empty = Status(
        version="1", now=1_790_000_000.0, ready=True, progress=(0, 0), reload_problems=(), loaded_at=1_790_000_000.0,
        chart_range="1h", sources=(), missing={}, span=0.0, routes=(), traffic=(), today=None, days=(), models=(), budgets=(), failures=(), verdicts=(),
    )  # fmt: skip
    return structs.replace(empty, **changes)


class Client:
    """Sends requests to a listener; over TLS if there is a `context`."""

    def __init__(self, listener: Listener, context: ssl.SSLContext | None = None) -> None:
        url = urlsplit(listener.url)
        self.address = (url.hostname or "", url.port or 0)
        self._context = context

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=10)
        return self._context.wrap_socket(connection, server_hostname="localhost") if self._context else connection

    def send(self, request: bytes, *, end: bool = True) -> bytes:
        """All bytes until the listener closes. With `end` the client closes its sending side after the request."""
        with self.connect() as connection:
            connection.sendall(request)
            if end and self._context is None:
                connection.shutdown(socket.SHUT_WR)
            return received(connection)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", "Connection: close", *lines])
        return parted(self.send(head.encode("latin-1") + b"\r\n\r\n", end=False))


def received(connection: socket.socket) -> bytes:
    """All bytes until the other side closes or resets the connection."""
    answer = b""
    try:
        while block := connection.recv(65536):
            answer += block
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return answer


def parted(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


@contextmanager
def listening(service: Service | None = None, config: WebConfig | None = None) -> Iterator[Listener]:
    listener = Listener(("127.0.0.1", 0), service or Service(), config or WebConfig())
    try:
        yield listener
    finally:
        listener.close()
