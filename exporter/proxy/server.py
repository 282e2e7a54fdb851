"""gunicorn with gevent workers, set up for requests that take minutes and clients that nobody knows."""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterable
from typing import Any

import gevent
from gevent import monkey
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker
from msgspec import Struct

from exporter.config.address import address
from exporter.config.proxy import ProxyConfig
from exporter.process.fd_limit import fd_limit, raise_fd_limit
from exporter.proxy.app import CLOSE, App
from exporter.proxy.disconnect_monitor import DisconnectMonitor
from exporter.proxy.errors import RefusedError
from exporter.proxy.file import LogFile
from exporter.proxy.log import RequestLog
from exporter.proxy.request_record import RequestRecord
from parsers.access.routes import INVALID, table

_socket = monkey.get_original("socket", "socket")  # gevent's shutdown throws an error at who reads

_CONNECTIONS = 4096
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 30
_LINGER_SECONDS = 5
_FAREWELL_SECONDS = 1
_LOOKS_A_SECOND = 4


class Startup(Struct, frozen=True):
    """What the command hands to the fresh process; the log's path is absolute."""

    settings: ProxyConfig
    routes: tuple[str, ...] = ()


class Server(BaseApplication):
    """Takes its settings from us alone: neither GUNICORN_CMD_ARGS nor a gunicorn.conf.py counts."""

    def __init__(self, startup: Startup) -> None:
        self._startup = startup
        self._boot = secrets.token_hex(4)
        super().__init__()

    def load_config(self) -> None:
        settings = self._startup.settings
        host, port = address(settings.listen)
        for name, value in {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": settings.workers,
            "worker_class": Worker,
            "worker_connections": _most_connections(),
            "keepalive": _KEEP_ALIVE_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "http_parser": "python",  # the one that our probes have tried
            "permit_unconventional_http_method": True,  # Dify answers 405 itself
            "forwarded_allow_ips": "",  # what others forwarded is passed on, not believed
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "control_socket_disable": True,
            "child_exit": self._farewell,
        }.items():
            self.cfg.set(name, value)

    def make(self, age: int) -> tuple[App, RequestLog, DisconnectMonitor]:
        """The application of one worker; `age` is gunicorn's number of it."""
        log, watch = self._log(age), DisconnectMonitor()
        return App(self._startup.settings, table(self._startup.routes), log, watch), log, watch

    def _log(self, age: int) -> RequestLog:
        return RequestLog(LogFile(self._startup.settings.log), f"{self._boot}-{age}")

    def _farewell(self, _: object, worker: Any) -> None:
        """In the master, after a worker has ended in whatever way."""
        log = self._log(worker.age)
        log.farewell()
        log.reopen()


class Worker(GeventWorker):
    """Counts refused requests too, notices clients that leave, and lets idle connections go when it ends."""

    def load_wsgi(self) -> None:
        assert isinstance(self.app, Server)
        application, self._log, self._watch = self.app.make(self.age)
        self._upstream = application.upstream
        self._clients: set[socket.socket] = set()
        self._unread: set[socket.socket] = set()

        def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
            def close() -> None:
                start_response.__self__.force_close()  # gunicorn has no other way to say it
                self._unread.add(environ["gunicorn.socket"])

            environ[CLOSE] = close
            if "close" in environ.get("HTTP_CONNECTION", "").lower().replace(" ", "").split(","):
                start_response.__self__.force_close()  # it sees a "close" only where it stands alone
            return application(environ, start_response)

        self.wsgi = wsgi

    def run(self) -> None:
        ticks = gevent.spawn(self._tick)
        try:
            super().run()
        finally:  # also when the master is gone: what is still open ends now, with its line
            ticks.kill()
            gevent.killall(self._watch.greenlets(), timeout=_FAREWELL_SECONDS)
            self._log.farewell()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        self._clients.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._clients.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> Any:
        gevent.sleep(0)  # of requests that came at once each is a turn
        try:
            return AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        except gevent.GreenletExit:  # gevent's worker would go on with the next request behind an answer that was cut
            raise StopIteration from None
        except TimeoutError:  # the client took nothing for too long, which its line says
            raise StopIteration from None
        finally:
            sock.settimeout(None)  # the wait for the next request has a limit of its own
            if sock in self._unread:
                self._unread.discard(sock)
                _linger(sock)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        self._log.reopen()
        super().handle_usr1(sig, frame)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """A request that gunicorn would not parse. Its own answer and log line repeat what the client wrote."""
        if not isinstance(exc, Exception):
            return
        refused = _refused(exc)
        exchange = RequestRecord({"REQUEST_METHOD": "-"}, INVALID, None, self._log)
        exchange.refused(int(refused.status[:3]))
        exchange.end()
        body = refused.body()
        head = (
            f"HTTP/1.1 {refused.status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall(head.encode() + body)
            _linger(client)

    def _tick(self) -> None:
        while True:
            for _ in range(_LOOKS_A_SECOND):
                gevent.sleep(1 / _LOOKS_A_SECOND)
                self._watch.look()
            self._log.heartbeat()
            self._upstream.sweep()
            if not self.alive:
                self._let_idle_go()

    def _let_idle_go(self) -> None:
        for client in self._clients:
            if not self._watch.holds(client):
                with contextlib.suppress(OSError), _socket(fileno=os.dup(client.fileno())) as same:
                    same.shutdown(socket.SHUT_RD)


def _linger(client: socket.socket) -> None:
    """Reads on for a while: closing on unread bytes is a reset, which can overtake the answer (RFC 9112 §9.6)."""
    deadline = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        client.settimeout(_LINGER_SECONDS)
        while client.recv(65536) and time.monotonic() < deadline:
            pass


def _refused(error: Exception) -> RefusedError:
    if isinstance(error, UnsupportedTransferCoding):
        return RefusedError("501 Not Implemented", "not_implemented", "unknown transfer coding")
    if isinstance(error, LimitRequestLine):
        return RefusedError("414 URI Too Long", "uri_too_long", "the request line is too long")
    if isinstance(error, LimitRequestHeaders):
        return RefusedError(
            "431 Request Header Fields Too Large", "headers_too_large", "the header fields are too large"
        )
    if isinstance(error, ExpectationFailed):
        return RefusedError("417 Expectation Failed", "expectation_failed", "only 100-continue can be expected")
    if isinstance(error, (ParseException, OSError)):
        return RefusedError("400 Bad Request", "bad_request", "the request is malformed")
    return RefusedError("500 Internal Server Error", "internal_server_error", "the proxy failed")


def _most_connections() -> int:
    """Two files a stream, and some for the rest: beyond that a client waits, instead of a stream that finds no file."""
    return int(min(_CONNECTIONS, max(1, fd_limit() // 2 - 16)))


def serve(startup: Startup) -> None:
    """Runs until it is told to end. Raises SystemExit."""
    os.environ.pop("SCRIPT_NAME", None)  # gunicorn would cut it off every path
    raise_fd_limit()
    Server(startup).run()
