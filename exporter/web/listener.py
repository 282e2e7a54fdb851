"""The listener. One thread with an event loop serves all connections, so a slow client occupies a socket, no thread.

Limits against slow and hostile clients, so that a scraper can always connect:

* At most `_MAX_CONNECTIONS` connections are open, or half of the file descriptor limit if that is less.
* Responses being sent hold at most `_MAX_UNSENT_BYTES` of memory.

Beyond a limit the connection that has made no progress for the longest time is closed.
"""

import asyncio
import logging
import socket
import ssl
import threading
from asyncio import sslproto
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from exporter.config.web import WebConfig, tls_context
from exporter.process.limits import fd_limit
from exporter.process.reloaded import Reloaded
from exporter.web import connection
from exporter.web.auth import Authenticator
from exporter.web.connection import HttpRequest, Response
from exporter.web.pages import Backend, Pages

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 512
_MAX_UNSENT_BYTES = 64 << 20
#: Minimum seconds between two log messages about connections that cannot be accepted.
_LOG_INTERVAL = 60.0
_TLS_SHUTDOWN_SECONDS = 1.0


class _TlsProtocol(sslproto.SSLProtocol):
    """asyncio's TLS with a read buffer of 16 KiB. With asyncio's own 256 KiB, 512 half handshakes would hold 130 MB."""

    max_size = 16 * 1024


class Listener:
    """Serves on its own thread until `close`."""

    def __init__(self, address: tuple[str, int], backend: Backend, config: WebConfig) -> None:
        """`address` is host and port; port 0 selects a free port.

        Raises OSError if the address cannot be bound, ValueError if the certificate is invalid.
        """
        self._backend = backend
        self._unsent: dict[asyncio.Task[None], int] = {}  # unsent bytes per connection, the least recent progress first
        # The other half of the file descriptors is for logs and state.
        self._max_connections = min(_MAX_CONNECTIONS, max(1, fd_limit() // 2))
        self._logged_at = -_LOG_INTERVAL
        self._hashes: Mapping[str, str] | None = None
        self._apply(config)
        self._socket = _bound(*address)
        self._loop = asyncio.new_event_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the thread limit is reached
            self._accepting.cancel()
            self._run()
            raise

    @property
    def url(self) -> str:
        """The URL of the bound address, with the actual port."""
        host, port = self._socket.getsockname()[:2]
        return f"http{'s' * bool(self._tls)}://{f'[{host}]' if ':' in host else host}:{port}"

    def configure(self, config: WebConfig) -> None:
        """Apply a reloaded configuration to new connections and requests. Raises ValueError as `__init__` does."""

        async def apply() -> None:
            self._apply(config)

        asyncio.run_coroutine_threadsafe(apply(), self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join()

    def _apply(self, config: WebConfig) -> None:
        self._tls: tuple[Reloaded[ssl.SSLContext], frozenset[str]] | None = None  # and the allowed names of clients
        if tls := config.tls:
            files = tls.cert_file, tls.key_file, tls.client_ca_file
            context = Reloaded("certificate", files, partial(tls_context, tls))
            self._tls = context, frozenset(tls.client_allowed_sans)
        if config.users != self._hashes:  # with the same users the cache of checked passwords is kept
            self._hashes, self._authenticator = config.users, Authenticator(config.users)
        self._pages = Pages(self._backend, config, self._authenticator)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._accepting)
        self._loop.run_until_complete(self._shut_down())
        self._loop.close()
        self._socket.close()

    async def _shut_down(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pages.close()
        self._authenticator.close()

    async def _accept(self) -> None:
        """Accept connections. The task of each connection does its TLS handshake, so no client can block this loop."""
        while True:
            try:
                accepted, peer = await self._loop.sock_accept(self._socket)
            except OSError as error:
                if self._loop.time() - self._logged_at >= _LOG_INTERVAL:
                    self._logged_at = self._loop.time()
                    _log.warning("a connection cannot be accepted: %s", error.strerror)
                await asyncio.sleep(0.1)  # no file descriptor is free; try again later
                continue
            task = self._loop.create_task(self._serve(accepted, peer[0]))
            task.add_done_callback(partial(self._on_end, accepted))
            self._unsent[task] = 0
            self._enforce_limits()

    def _on_end(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._unsent.pop(task, None)
        accepted.close()

    def _enforce_limits(self) -> None:
        """Close the connections with the least recent progress until the limits hold."""
        while len(self._unsent) > self._max_connections or (
            len(self._unsent) > 1 and sum(self._unsent.values()) > _MAX_UNSENT_BYTES
        ):
            stalled = next(iter(self._unsent))
            del self._unsent[stalled]
            stalled.cancel()

    def _on_progress(self, unsent: int) -> None:
        task = asyncio.current_task()
        if task in self._unsent:
            del self._unsent[task]
            self._unsent[task] = unsent
            self._enforce_limits()

    async def _serve(self, accepted: socket.socket, peer: str) -> None:
        """Serve one connection. Errors of the client are expected and not logged."""
        try:
            reader = asyncio.StreamReader(limit=2 * 4096, loop=self._loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
            if tls := self._tls:
                transport = await self._shake_hands(accepted, protocol, *tls)
            else:
                transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, accepted)
            try:
                transport.set_write_buffer_limits(high=64 * 1024)
                writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
                await connection.serve(reader, writer, peer, self._respond, self._on_progress)
                writer.close()
                async with asyncio.timeout(connection.TIMEOUT):
                    await writer.wait_closed()
            finally:
                transport.abort()
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            # The frames of the traceback and the error refer to each other. Without this line about 300 kB per
            # connection would wait for the garbage collector.
            error.__traceback__ = None

    async def _shake_hands(
        self,
        accepted: socket.socket,
        protocol: asyncio.StreamReaderProtocol,
        context: Reloaded[ssl.SSLContext],
        allowed_names: frozenset[str],
    ) -> asyncio.Transport:
        """The transport of an accepted socket after its TLS handshake.

        Raises OSError if the handshake fails, takes too long, or the client certificate has no allowed name.
        """
        handshake: asyncio.Future[None] = self._loop.create_future()
        tls = _TlsProtocol(
            self._loop,
            protocol,
            context.current(),
            handshake,
            server_side=True,
            ssl_handshake_timeout=connection.TIMEOUT,  # type: ignore[arg-type]  # asyncio accepts a float
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
        )
        transport = tls._app_transport
        try:
            await self._loop.connect_accepted_socket(lambda: tls, accepted)
            await handshake
        except BaseException:
            handshake.cancel()
            transport.close()
            raise
        certificate = transport.get_extra_info("peercert") or {}
        names = {name for _, name in certificate.get("subjectAltName", ())}
        if allowed_names and not names & allowed_names:
            transport.abort()
            raise ConnectionAbortedError
        return transport

    async def _respond(self, request: HttpRequest) -> Response:
        """Use the current pages, so that a reload also applies to open connections."""
        return await self._pages.respond(request)


def _bound(host: str, port: int) -> socket.socket:
    # getaddrinfo loads this codec, and hides why it cannot: too little memory.
    import encodings.idna  # noqa: F401

    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.create_server(
        address[:2], family=family, backlog=1024, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
    )
    listening.setblocking(False)
    return listening
