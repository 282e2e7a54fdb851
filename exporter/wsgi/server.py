"""gunicorn with gevent workers, configured for untrusted clients. The proxy and the receiver are two of these."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import gevent
from gevent import monkey
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from exporter.config.address import parse_address
from exporter.process.limits import fd_limit
from exporter.wsgi.responses import CLOSE_CONNECTION, ActiveRequests, Application, RefusedError

_socket = monkey.get_original("socket", "socket")  # gevent's shutdown raises an error in the greenlet that reads

_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 30
_LINGER_SECONDS = 5
_ABORT_SECONDS = 1
_CHECKS_PER_SECOND = 4
#: Before there are more connections than are accepted, the oldest idle one is closed: slow clients keep nobody out.
_SPARE_CONNECTIONS = 8
#: The response to what gunicorn raises for a request that it cannot parse; the first entry that fits applies.
_ERRORS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnsupportedTransferCoding, 501, "unknown transfer coding"),
    (LimitRequestLine, 414, "the request line is too long"),
    (LimitRequestHeaders, 431, "the header fields are too large"),
    (ExpectationFailed, 417, "only 100-continue can be expected"),
    (ParseException, 400, "the request is malformed"),
    (OSError, 400, "the request is malformed"),
    (Exception, 500, "the program failed"),
)


class Server(BaseApplication):
    """The gunicorn master. It ignores GUNICORN_CMD_ARGS and gunicorn.conf.py."""

    def __init__(self, listen: str, max_connections: int, **settings: Any) -> None:
        """At most `max_connections` clients per worker; `settings` are further settings of gunicorn."""
        self._listen, self._max_connections, self._settings = listen, max_connections, settings
        super().__init__()

    def load_config(self) -> None:
        host, port = parse_address(self._listen)
        for name, value in {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            # Each connection may need two file descriptors; further clients wait to be accepted.
            "worker_connections": int(min(self._max_connections, max(1, fd_limit() // 2 - 16))),
            "keepalive": _KEEP_ALIVE_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "http_parser": "python",  # the parser that tests/system/test_proxy_hostile.py covers
            "permit_unconventional_http_method": True,  # the application responds with 405
            "forwarded_allow_ips": "",  # X-Forwarded-* is passed on, but not trusted
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "control_socket_disable": True,
            **self._settings,
        }.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until a signal stops it. Raises SystemExit."""
        os.environ.pop("SCRIPT_NAME", None)  # gunicorn would remove this prefix from every path
        _Arbiter(self).run()


class _Arbiter(Arbiter):
    """Blocks signals while it starts a worker, because a worker would lose one that comes before its own handlers."""

    def spawn_worker(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            return super().spawn_worker()  # in the worker it returns when the worker ends
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)


class Worker(GeventWorker):
    """A gunicorn worker that responds to malformed requests itself and closes idle clients when it stops."""

    requests: ActiveRequests

    def start_application(self) -> Application:
        """The WSGI application of this worker, whose active requests are in `requests` from now on."""
        raise NotImplementedError

    def refused(self, error: RefusedError) -> None:
        """The worker has refused a request that gunicorn could not parse."""

    def check_clients(self) -> None:
        """Called several times per second."""

    def every_second(self) -> None:
        """Called each second."""

    def ended(self) -> None:
        """Called when the worker ends, after its last request."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _Arbiter.SIGNALS)

    def load_wsgi(self) -> None:
        application = self.start_application()
        self._clients: dict[socket.socket, None] = {}  # those whose last request is the oldest come first
        self._to_linger: set[socket.socket] = set()

        def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
            def close_connection() -> None:
                start_response.__self__.force_close()  # gunicorn has no public API for this
                self._to_linger.add(environ["gunicorn.socket"])

            environ[CLOSE_CONNECTION] = close_connection
            if "close" in environ.get("HTTP_CONNECTION", "").lower().replace(" ", "").split(","):
                start_response.__self__.force_close()  # gunicorn recognises "close" only if it is the whole value
            return application(environ, start_response)

        self.wsgi = wsgi

    def run(self) -> None:
        periodic_tasks = gevent.spawn(self._run_periodic_tasks)
        try:
            super().run()
        finally:  # also after the master has died: abort the active requests, so that each ends as it should
            periodic_tasks.kill()
            gevent.killall([*self.requests.greenlets.values()], timeout=_ABORT_SECONDS)
            self.ended()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        self._clients[client] = None
        if len(self._clients) > self.worker_connections - _SPARE_CONNECTIONS:
            self._close_idle_clients(1)
        try:
            super().handle(listener, client, addr)
        finally:
            self._clients.pop(client, None)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> Any:
        gevent.sleep(0)  # pipelined requests: let other clients run between two of them
        try:
            return AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        except gevent.GreenletExit:  # gunicorn would serve the next request although this response is incomplete
            raise StopIteration from None
        except TimeoutError:  # the client did not read in time
            raise StopIteration from None
        finally:
            sock.settimeout(None)  # gunicorn limits the wait for the next request itself
            self._clients[sock] = self._clients.pop(sock, None)
            if sock in self._to_linger:
                self._to_linger.discard(sock)
                _linger(sock)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Respond to a request that gunicorn cannot parse. gunicorn's own response and log would quote the client."""
        if not isinstance(exc, Exception):
            return
        error = next(RefusedError(status, message) for kind, status, message in _ERRORS if isinstance(exc, kind))
        self.refused(error)
        body = error.body()
        head = (
            f"HTTP/1.1 {error.status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall(head.encode() + body)
            _linger(client)

    def _run_periodic_tasks(self) -> None:
        while True:
            for _ in range(_CHECKS_PER_SECOND):
                gevent.sleep(1 / _CHECKS_PER_SECOND)
                self.check_clients()
            self.every_second()
            if not self.alive:
                self._close_idle_clients(len(self._clients))

    def _close_idle_clients(self, number: int) -> None:
        """Close so many connections without an active request: idle ones, and those whose head does not come."""
        idle = (client for client in self._clients if client not in self.requests.greenlets)
        for client in list(islice(idle, number)):
            with contextlib.suppress(OSError), _socket(fileno=os.dup(client.fileno())) as same:
                same.shutdown(socket.SHUT_RD)


def _linger(client: socket.socket) -> None:
    """Lingering close: read on for up to 5 s after the response (RFC 9112 §9.6).

    Closing a socket with unread bytes sends a reset, which may reach the client before the response.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        client.settimeout(_LINGER_SECONDS)
        while client.recv(65536) and time.monotonic() < deadline:
            pass
