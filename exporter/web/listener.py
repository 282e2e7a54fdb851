"""The listener: one thread with an event loop, on which waiting costs nothing.

Slow, silent and hostile clients hold a socket and no thread. There are as many connections as `_CONNECTIONS`, or
fewer where few files may be open; a new one beyond that takes the place of the one that has got nowhere for the
longest time, and so does an answer that would hold too much memory: a scraper always gets in.
"""

import asyncio
import logging
import socket
import threading
from asyncio import sslproto
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from exporter.config.web import WebConfig
from exporter.process.fd_limit import fd_limit
from exporter.web import connection
from exporter.web.auth import Users
from exporter.web.message import Request, Response
from exporter.web.pages import Backend, Pages
from exporter.web.tls import Certificates

_log = logging.getLogger(__name__)

_CONNECTIONS = 512
_HELD_BYTES = 64 << 20
_PERIOD = 60.0

#: asyncio gives each TLS connection 256 KiB to read into: a crowd of half handshakes would hold 130 MB of them.
sslproto.SSLProtocol.max_size = 16 * 1024


class Listener:
    """Serves on a thread of its own until closed."""

    def __init__(self, address: tuple[str, int], backend: Backend, config: WebConfig) -> None:
        """Port 0 takes a free one. Raises OSError where the address cannot be bound, and ValueError where the
        certificate cannot be used.
        """
        self._backend = backend
        self._open: dict[asyncio.Task[None], int] = {}  # bytes held, by who got on least lately
        # Logs and state need theirs.
        self._most = min(_CONNECTIONS, max(1, fd_limit() // 2))
        self._refused_at = -_PERIOD
        self._hashes: Mapping[str, str] | None = None
        self._apply(config)
        self._socket = _bound(*address)
        self._loop = asyncio.new_event_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be started
            self._accepting.cancel()
            self._run()
            raise

    @property
    def url(self) -> str:
        """Where it listens, with the port as bound."""
        host, port = self._socket.getsockname()[:2]
        return f"http{'s' * bool(self._certificates)}://{f'[{host}]' if ':' in host else host}:{port}"

    def configure(self, config: WebConfig) -> None:
        """What a reload has brought, from the next connection and request on. Raises ValueError."""
        done: Future[None] = Future()

        def apply() -> None:
            try:
                self._apply(config)
            except ValueError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(apply)
        done.result()

    def close(self) -> None:
        """Ends what is open, and the thread."""
        self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join()

    def _apply(self, config: WebConfig) -> None:
        self._certificates = Certificates(config.tls) if config.tls else None
        if config.users != self._hashes:  # else the passwords that were found right stay so
            self._hashes, self._users = config.users, Users(config.users)
        self._pages = Pages(self._backend, config, self._users)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._accepting)
        self._loop.run_until_complete(self._end())
        self._loop.close()
        self._socket.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._pages.close()
        self._users.close()

    async def _accept(self) -> None:
        """No handshake here and no read: nobody can keep the next client waiting."""
        while True:
            try:
                accepted, peer = await self._loop.sock_accept(self._socket)
            except OSError as error:
                self._say(error)
                await asyncio.sleep(0.1)  # no file descriptors left: until somebody frees some
                continue
            task = self._loop.create_task(self._serve(accepted, peer[0]))
            task.add_done_callback(partial(self._ended, accepted))
            self._open[task] = 0
            self._make_room()

    def _ended(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        accepted.close()

    def _say(self, error: OSError) -> None:
        """Once a minute: it is tried again ten times a second."""
        if self._loop.time() - self._refused_at >= _PERIOD:
            self._refused_at = self._loop.time()
            _log.warning("a connection cannot be accepted: %s", error.strerror)

    def _make_room(self) -> None:
        while len(self._open) > self._most or (len(self._open) > 1 and sum(self._open.values()) > _HELD_BYTES):
            stuck = next(iter(self._open))
            del self._open[stuck]
            stuck.cancel()

    def _got_on(self, held: int) -> None:
        task = asyncio.current_task()
        if task in self._open:
            del self._open[task]
            self._open[task] = held
            self._make_room()

    async def _serve(self, accepted: socket.socket, peer: str) -> None:
        """A client that leaves, is stuck or breaks the rules is no event."""
        try:
            reader = asyncio.StreamReader(limit=2 * 4096, loop=self._loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
            transport = await self._connected(accepted, protocol)
            try:
                writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
                await connection.serve(reader, writer, peer, self._respond, self._got_on)
                writer.close()
                async with asyncio.timeout(connection.PATIENCE):
                    await writer.wait_closed()
            finally:
                transport.abort()
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            # Its frames hold the connection, and they the error: some 300 kB that wait for the garbage collector.
            error.__traceback__ = None

    async def _connected(self, accepted: socket.socket, protocol: asyncio.StreamReaderProtocol) -> asyncio.Transport:
        """With the handshake done. Raises OSError where it fails, takes too long or shows a name not allowed."""
        certificates = self._certificates
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol,
            accepted,
            ssl=certificates.context() if certificates else None,
            ssl_handshake_timeout=connection.PATIENCE if certificates else None,
            ssl_shutdown_timeout=1.0 if certificates else None,
        )
        secured = transport.get_extra_info("ssl_object")
        if certificates and not certificates.accepts(secured.getpeercert()):
            transport.abort()
            raise ConnectionAbortedError
        transport.set_write_buffer_limits(high=64 * 1024)
        return transport

    async def _respond(self, request: Request) -> Response:
        """By the pages of the moment: a reload counts for connections that are open."""
        return await self._pages.respond(request)


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.create_server(
        address[:2],
        family=family,
        backlog=1024,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )
    listening.setblocking(False)
    return listening
