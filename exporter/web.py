"""The HTTP listener: /metrics, /-/healthy, /-/ready, /health and a landing page."""

import gzip
import html
import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from exporter.exposition import negotiate

_IDLE_SECONDS = 10.0


class Answers(Protocol):
    """What the listener asks of the service."""

    def ready(self) -> bool:
        """Whether the first pass is done; until then no metrics are shown."""

    def metrics(self, content_type: str, created: bool) -> bytes:
        """The exposition text."""

    def health(self) -> Mapping[str, Any]:
        """The state of each source, for /health and the landing page."""


class Listener:
    """Serves on a thread of its own until closed."""

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        """Raises OSError where the address cannot be bound. Port 0 takes a free one."""
        self._server = _Server(address, answers)
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port as bound."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.answers = answers
        if ":" in address[0]:
            import socket

            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "dify-exporter"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        answer = _PAGES.get(url.path)
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"Not found.\n")
        else:
            answer(self, parse_qs(url.query, max_num_fields=16))

    do_HEAD = do_GET  # noqa: N815 (the name is http.server's)

    def log_message(self, format: str, *args: object) -> None:
        """No line per request."""

    def metrics(self, query: Mapping[str, list[str]]) -> None:
        if not self.server.answers.ready():
            return self.ready(query)
        content_type = negotiate(self.headers.get("Accept", ""))
        body = self.server.answers.metrics(content_type, created=query.get("created") == ["true"])
        return self._send(HTTPStatus.OK, content_type, body)

    def healthy(self, query: Mapping[str, list[str]]) -> None:
        del query
        self._send(HTTPStatus.OK, "text/plain; charset=utf-8", b"Healthy.\n")

    def ready(self, query: Mapping[str, list[str]]) -> None:
        del query
        answers = self.server.answers
        if answers.ready():
            return self._send(HTTPStatus.OK, "text/plain; charset=utf-8", b"Ready.\n")
        progress = answers.health()["first_pass"]
        text = f"Not ready: first pass has read {progress['done_bytes']} of {progress['known_bytes']} bytes.\n"
        return self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text.encode())

    def health(self, query: Mapping[str, list[str]]) -> None:
        del query
        health = self.server.answers.health()
        status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, "application/json", json.dumps(health, indent=2).encode() + b"\n")

    def landing(self, query: Mapping[str, list[str]]) -> None:
        del query
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", _landing_page(self.server.answers.health()))

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1024:
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_PAGES: Mapping[str, Callable[[_Handler, Mapping[str, list[str]]], None]] = {
    "/metrics": _Handler.metrics,
    "/-/healthy": _Handler.healthy,
    "/-/ready": _Handler.ready,
    "/health": _Handler.health,
    "/": _Handler.landing,
}

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;"
    "padding:0 1rem}table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left}"
)


def _landing_page(health: Mapping[str, Any]) -> bytes:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}<td>{'up' if s['up'] else 'down'}<td>{s['files']}"
        f"<td>{s['lag_bytes']}<td>{html.escape(', '.join(s['errors']))}"
        for name, s in health["sources"].items()
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>dify-exporter</title><style>{_STYLE}</style>"
        f"<h1>dify-exporter {html.escape(health['version'])}</h1>"
        "<p><a href=/metrics>Metrics</a> · <a href=/health>Health</a> · <a href=/-/ready>Ready</a>"
        "<table><tr><th>source<th>state<th>files<th>lag in bytes<th>troubles" + rows + "</table>"
    )
    return page.encode()
