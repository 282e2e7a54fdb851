"""Connections to Dify. h11 speaks HTTP: it leaves targets as they are, and knows a cut answer from a whole one."""

import logging
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import h11
from gevent import monkey

from exporter.proxy.errors import RefusedError, UpstreamError
from exporter.proxy.headers import Fields

#: Dify's gunicorn closes an idle connection after 2 s; one that is reused earlier is not met by that.
_IDLE_SECONDS = 1.0
_MOST_IDLE = 256
_READ_BYTES = 65536
_LONGEST_HEAD = 131072
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Seconds between two sentences on why there is no connection.
_PERIOD = 60.0
#: Of a socket that does not wait.
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError)

_log = logging.getLogger("gunicorn.error")
_poll = monkey.get_original("select", "poll")  # gevent's goes through the loop even to ask


class UpstreamResponse:
    """Dify's answer: its head, and its body as it comes."""

    def __init__(self, connection: "_Connection", head: h11.Response, upstream: "Upstream") -> None:
        self.status_code = head.status_code
        self.status = f"{head.status_code} {head.reason.decode('latin-1')}"
        self.fields: Fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.raw_items()]
        self._connection = connection
        self._upstream = upstream

    def __iter__(self) -> Iterator[bytes]:
        """Raises UpstreamError where the body breaks off."""
        while isinstance(event := self._connection.receive(), h11.Data):
            yield bytes(event.data)

    def field(self, name: str) -> str:
        """The first value of a field, "" where there is none."""
        return next((value for found, value in self.fields if found.lower() == name), "")

    def close(self) -> None:
        """Keeps the connection for the next request if this one is whole, and hangs up otherwise."""
        self._upstream.done(self._connection)


class Upstream:
    """Dify's address, and the connections to it that are idle and fresh."""

    def __init__(self, url: str, ca: str, connect_timeout: float, read_timeout: float) -> None:
        """`ca` is the path of a CA bundle, "" for the system's. Times in seconds. Raises OSError."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._address = parts.hostname or "", parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context(cafile=ca or None) if secure else None
        self._authority = parts.netloc.rpartition("@")[2]
        self._timeouts = connect_timeout, read_timeout
        self._idle: list[_Connection] = []
        self._said_at = -_PERIOD

    def host(self, asked: str) -> str:
        """The Host to send: the client's; behind TLS, where sites are told apart by name, Dify's own."""
        return asked if asked and not self._tls else self._authority

    def ask(self, method: str, target: str, fields: Fields, body: Iterable[bytes] | None) -> UpstreamResponse:
        """Sends a request and waits for the head of its answer. Raises UpstreamError, and RefusedError where HTTP has
        no such request.
        """
        try:
            head = h11.Request(
                method=method.encode(),
                target=target.encode(),
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
            )
        except h11.LocalProtocolError:  # a length of more than 20 digits
            raise RefusedError("400 Bad Request", "bad_request", "the request is malformed", close=True) from None
        connection = self._take()
        reused = connection.reused
        try:
            return self._answer(connection, head, body or ())
        except UpstreamError as error:
            if not reused or body is not None or method not in _REPEATABLE or error.outcome != "upstream_reset":
                raise
        # Dify closed the idle connection just as it was used again (RFC 9112 §9.3.1).
        return self._answer(self._connect(), head, ())

    def _answer(self, connection: "_Connection", head: h11.Request, body: Iterable[bytes]) -> UpstreamResponse:
        try:
            return UpstreamResponse(connection, connection.ask(head, body), self)
        except BaseException:
            connection.close()
            raise

    def done(self, connection: "_Connection") -> None:
        if connection.rest() and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def sweep(self) -> None:
        """Hangs up what nobody has used for a while."""
        stale = [connection for connection in self._idle if not connection.fresh()]
        self._idle = [connection for connection in self._idle if connection not in stale]
        for connection in stale:
            connection.close()

    def _take(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh():
                return connection
            connection.close()
        return self._connect()

    def _connect(self) -> "_Connection":
        connect_timeout, read_timeout = self._timeouts
        try:
            plain = socket.create_connection(self._address, connect_timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = self._secure(plain) if self._tls else plain
        except (OSError, UnicodeError) as error:  # refused, unresolved, a certificate that does not hold
            self._say(error)
            raise UpstreamError("upstream_timeout" if isinstance(error, TimeoutError) else "upstream_refused") from None
        connected.settimeout(read_timeout)
        return _Connection(connected)

    def _say(self, error: Exception) -> None:
        """The client is not told why, the operator is, and neither of them each time."""
        if time.monotonic() - self._said_at >= _PERIOD:
            self._said_at = time.monotonic()
            _log.warning("no connection to Dify at %s: %s", self._authority, error)

    def _secure(self, plain: socket.socket) -> socket.socket:
        assert self._tls is not None
        try:
            return self._tls.wrap_socket(plain, server_hostname=self._address[0])
        except BaseException:
            plain.close()
            raise


class _Connection:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._rests_since = 0.0
        self.reused = False

    def ask(self, request: h11.Request, body: Iterable[bytes]) -> h11.Response:
        try:
            self._send(request)
            for piece in body:
                if early := self._early_answer():
                    return early
                self._send(h11.Data(data=piece))
            self._send(h11.EndOfMessage())
        except TimeoutError:
            raise UpstreamError("upstream_timeout") from None
        except _SendError:
            pass  # Dify may have answered (413) and closed before the body's end
        return self._head()

    def receive(self) -> h11.Event:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._socket.recv(_READ_BYTES))
        except _NOTHING_YET:
            raise
        except TimeoutError:
            raise UpstreamError("upstream_timeout") from None
        except (OSError, h11.RemoteProtocolError):
            raise UpstreamError("upstream_reset") from None
        assert not isinstance(event, type)
        return event

    def _head(self) -> h11.Response:
        while not isinstance(event := self.receive(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise UpstreamError("upstream_reset")
        return event

    def _early_answer(self) -> h11.Response | None:
        """The answer, if it has come before the body's end. Nothing is waited for: half a head or, of TLS 1.3, a
        session ticket can be read too, and Dify says no more until it has the body.
        """
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            return self._head()
        except _NOTHING_YET:
            return None
        finally:
            self._socket.settimeout(timeout)

    def _readable(self) -> bool:
        poll = _poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def rest(self) -> bool:
        """True if another request may follow. What has come behind the answer would be the next one's."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self._rests_since = time.monotonic()
        self.reused = True
        return True

    def fresh(self) -> bool:
        if time.monotonic() - self._rests_since > _IDLE_SECONDS:
            return False
        return not self._readable()  # what can be read from an idle connection is its end

    def close(self) -> None:
        self._socket.close()

    def _send(self, event: h11.Event) -> None:
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
