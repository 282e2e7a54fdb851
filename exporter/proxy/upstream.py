"""Connections to Dify, with keep-alive.

h11 implements HTTP/1.1: it sends targets unchanged and distinguishes a complete response from an incomplete one.
"""

import logging
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import h11
from gevent import monkey

from exporter.config.wsgi import ProxyConfig
from exporter.proxy.headers import Fields
from exporter.wsgi.responses import RefusedError

#: Dify's gunicorn closes an idle connection after 2 s. A connection that is reused earlier does not race with that.
_MAX_IDLE_SECONDS = 1.0
_MAX_IDLE_CONNECTIONS = 256
_READ_BYTES = 65536
_MAX_HEAD_BYTES = 131072
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Minimum seconds between two log messages about failed connections.
_LOG_INTERVAL = 60.0
#: Errors of a non-blocking socket that has no data yet.
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError)

_REFUSALS = {
    "upstream_timeout": (504, "Dify did not answer in time"),
    "upstream_refused": (502, "no connection to Dify"),
    "upstream_reset": (502, "Dify closed the connection without a complete answer"),
}

_log = logging.getLogger("gunicorn.error")
new_poll = monkey.get_original("select", "poll")  # gevent's version switches to the event loop even with timeout 0


class UpstreamError(RefusedError):
    """Dify did not respond, or its response is incomplete. `outcome` is the value for the log line."""

    def __init__(self, outcome: str) -> None:
        super().__init__(*_REFUSALS[outcome])
        self.outcome = outcome


class UpstreamResponse:
    """A response from Dify: its head, and its body as an iterable of pieces."""

    def __init__(self, connection: "_Connection", head: h11.Response, upstream: "Upstream") -> None:
        self.status_code = head.status_code
        self.status = f"{head.status_code} {head.reason.decode('latin-1')}"
        self.fields: Fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.raw_items()]
        self._connection = connection
        self._upstream = upstream

    def __iter__(self) -> Iterator[bytes]:
        """Raises UpstreamError if the body is incomplete."""
        while isinstance(event := self._connection.receive(), h11.Data):
            yield bytes(event.data)

    def field(self, name: str) -> str:
        """The first value of a field, "" if it is missing. `name` is in lower case."""
        return next((value for found, value in self.fields if found.lower() == name), "")

    def close(self) -> None:
        """Release the connection. It is closed unless the response was read completely."""
        self._upstream.release(self._connection)


class Upstream:
    """Dify's address and a pool of idle connections to it."""

    def __init__(self, settings: ProxyConfig) -> None:
        """Raises OSError if the CA bundle cannot be read."""
        parts, self._settings = urlsplit(settings.upstream), settings
        is_https = parts.scheme == "https"
        self._address = parts.hostname or "", parts.port or (443 if is_https else 80)
        self._tls = ssl.create_default_context(cafile=settings.upstream_ca or None) if is_https else None
        self._authority = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []
        self._logged_at = -_LOG_INTERVAL

    def host(self, requested: str) -> str:
        """The Host to send: the client's, or Dify's own with an https:// upstream, where the name selects the site."""
        return requested if requested and not self._tls else self._authority

    def send(self, method: str, target: str, fields: Fields, body: Iterable[bytes] | None) -> UpstreamResponse:
        """Send a request and wait for the head of its response.

        Raises UpstreamError, or RefusedError if the request is no valid HTTP.
        """
        try:
            head = h11.Request(
                method=method.encode(),
                target=target.encode(),
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
            )
        except h11.LocalProtocolError:  # such as a length of more than 20 digits
            raise RefusedError(400, "the request is malformed", close=True) from None
        connection = self._acquire()
        was_reused = connection.is_reused
        try:
            return self._exchange(connection, head, body or ())
        except UpstreamError as error:
            can_retry = was_reused and body is None and method in _IDEMPOTENT_METHODS
            if not can_retry or error.outcome != "upstream_reset":
                raise
        # Dify closed the idle connection at the moment of its reuse (RFC 9112 §9.3.1).
        return self._exchange(self._connect(), head, ())

    def _exchange(self, connection: "_Connection", head: h11.Request, body: Iterable[bytes]) -> UpstreamResponse:
        try:
            return UpstreamResponse(connection, connection.send(head, body), self)
        except BaseException:
            connection.close()
            raise

    def release(self, connection: "_Connection") -> None:
        """Return a connection to the pool, or close it if it cannot be reused or the pool is full."""
        if connection.start_next_cycle() and len(self._idle) < _MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def close_expired(self) -> None:
        expired = [connection for connection in self._idle if not connection.is_reusable()]
        self._idle = [connection for connection in self._idle if connection not in expired]
        for connection in expired:
            connection.close()

    def _acquire(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable():
                return connection
            connection.close()
        return self._connect()

    def _connect(self) -> "_Connection":
        try:
            plain = socket.create_connection(self._address, self._settings.connect_timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = self._tls.wrap_socket(plain, server_hostname=self._address[0]) if self._tls else plain
        except (OSError, UnicodeError) as error:  # refused, name not resolved, certificate not valid
            if time.monotonic() - self._logged_at >= _LOG_INTERVAL:  # the client does not get the reason
                self._logged_at = time.monotonic()
                _log.warning("no connection to Dify at %s: %s", self._authority, error)
            raise UpstreamError("upstream_timeout" if isinstance(error, TimeoutError) else "upstream_refused") from None
        connected.settimeout(self._settings.read_timeout)
        return _Connection(connected)


class _Connection:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._idle_since = 0.0
        self.is_reused = False

    def send(self, request: h11.Request, body: Iterable[bytes]) -> h11.Response:
        """Send a request and wait for the head of its response. Raises UpstreamError."""
        try:
            self._send_event(request)
            for piece in body:
                if early := self._early_response():
                    return early
                self._send_event(h11.Data(data=piece))
            self._send_event(h11.EndOfMessage())
        except TimeoutError:
            raise UpstreamError("upstream_timeout") from None
        except _SendError:
            pass  # Dify may have responded (413) and closed before the end of the body
        return self._response_head()

    def receive(self) -> h11.Event:
        """The next event of the response. Raises UpstreamError."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._socket.recv(_READ_BYTES))
        except _WOULD_BLOCK:
            raise
        except TimeoutError:
            raise UpstreamError("upstream_timeout") from None
        except (OSError, h11.RemoteProtocolError):
            raise UpstreamError("upstream_reset") from None
        assert not isinstance(event, type)
        return event

    def _response_head(self) -> h11.Response:
        while not isinstance(event := self.receive(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise UpstreamError("upstream_reset")
        return event

    def _early_response(self) -> h11.Response | None:
        """The head of the response if it has arrived before the end of the request's body.

        This reads without blocking. A readable socket is not enough: it may hold half a head or a TLS 1.3 session
        ticket, and Dify sends nothing more until it has the body.
        """
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            return self._response_head()
        except _WOULD_BLOCK:
            return None
        finally:
            self._socket.settimeout(timeout)

    def start_next_cycle(self) -> bool:
        """Prepare the connection for its next request. Returns False if it must be closed.

        Bytes behind the response would be taken for the next response.
        """
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self._idle_since = time.monotonic()
        self.is_reused = True
        return True

    def is_reusable(self) -> bool:
        """Whether the idle connection is younger than the limit and Dify has not closed it."""
        if time.monotonic() - self._idle_since > _MAX_IDLE_SECONDS:
            return False
        poll = new_poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return not poll.poll(0)  # an idle connection is readable only when the peer has closed it

    def close(self) -> None:
        self._socket.close()

    def _send_event(self, event: h11.Event) -> None:
        data = self._http.send(event)
        try:
            if data:
                self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            raise _SendError from None


class _SendError(Exception):
    pass
