"""One connection: reads requests with h11, one at a time and each within a time limit, and sends the answers.

h11 is the strict half: what is smuggled, doubled, endless or malformed never becomes a request.
"""

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

import h11

from exporter.web.message import Request, Response, text

#: Seconds for a whole request to arrive, and for a client to take the next piece of an answer.
PATIENCE = 10.0
_HEAD_BYTES = 16 * 1024
_BODY_BYTES = 16 * 1024
_PIECE = 64 * 1024

#: Of a client from which nothing more is expected.
_SAID_ALL = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
_LINGER = 1.0

#: Takes a request, and the method, path and address it came with.
Respond = Callable[[Request], Awaitable[Response]]

#: Is called where a client has got on: a request is whole, a piece is taken; with the bytes that still wait.
Progress = Callable[[int], None]


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, respond: Respond, progress: Progress
) -> None:
    """Serves until one side is done. Raises OSError and TimeoutError where the client is gone or stuck."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
    while True:
        head = False
        try:
            request = await _request(http, reader, peer)
            if request is None:
                return
            progress(0)
            head = request.method == "HEAD"
            answer = await respond(request)
        except h11.RemoteProtocolError as error:
            answer = _refusal(error)
        except TimeoutError:
            if http.trailing_data[0] == b"" and http.their_state is h11.IDLE:
                return  # an idle connection that was kept open
            answer = text(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.", connection="close")
        if not await _send(http, writer, answer, head, progress):
            if writer.can_write_eof() or http.their_state not in _SAID_ALL:
                await _leave(reader, writer)
            return
        http.start_next_cycle()


async def _request(http: h11.Connection, reader: asyncio.StreamReader, peer: str) -> Request | None:
    """The next request with its body read and dropped; None where the client has left."""
    request: h11.Request | None = None
    size = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    break  # no page wants a body: the answer comes at once, and ends the connection
                http.receive_data(await reader.read(4096))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > _BODY_BYTES:
                    raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:  # the connection is closed, or h11 waits for the next cycle
                return None
    assert request is not None
    return _checked(request, peer)


def _checked(request: h11.Request, peer: str) -> Request:
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("another HTTP", error_status_hint=505)
    headers = {bytes(name): bytes(value) for name, value in reversed(request.headers)}
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise h11.RemoteProtocolError("two ways to read one message (RFC 9112 §6.1)", error_status_hint=400)
    path, query = _target(request.target.decode("ascii"))
    return Request(request.method.decode("ascii"), path, query, headers, peer)


def _target(target: str) -> tuple[str, str]:
    """Path and query of the forms of RFC 9112 §3.2. `//a/b` is a path: who sees an authority in it answers what a
    server in front believes to have refused.
    """
    if "#" in target:
        raise h11.RemoteProtocolError("a fragment is no part of a target", error_status_hint=400)
    if target.lower().startswith(("http://", "https://")):
        try:
            url = urlsplit(target)
        except ValueError:
            raise h11.RemoteProtocolError("the target is no URL", error_status_hint=400) from None
        return url.path or "/", url.query
    path, _, query = target.partition("?")
    return path, query


def _refusal(error: h11.RemoteProtocolError) -> Response:
    """h11's sentences may quote the client, so ours say nothing but the status."""
    status = HTTPStatus(error.error_status_hint)
    return text(status, f"{status.phrase}.", connection="close")


async def _send(
    http: h11.Connection, writer: asyncio.StreamWriter, answer: Response, head: bool, progress: Progress
) -> bool:
    """Whether the connection may go on."""
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Server", "dify-exporter"),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        *answer.headers.items(),
    ]
    if http.their_state is not h11.DONE and "Connection" not in answer.headers:
        headers.append(("Connection", "close"))
    status = HTTPStatus(answer.status)
    writer.write(http.send(h11.Response(status_code=status, headers=headers, reason=status.phrase)) or b"")
    left = memoryview(b"" if head else answer.body)
    while left:
        progress(len(left))
        writer.write(http.send(h11.Data(data=bytes(left[:_PIECE]))) or b"")
        left = left[_PIECE:]
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
    progress(0)
    writer.write(http.send(h11.EndOfMessage()) or b"")
    async with asyncio.timeout(PATIENCE):
        await writer.drain()
    return http.our_state is h11.DONE and http.their_state is h11.DONE


async def _leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lets the answer arrive: closing with unread bytes would reset the connection and may take it away. TLS knows no
    half-closed connection, so there only who still sends is waited for.
    """
    if writer.can_write_eof():
        writer.write_eof()
    try:
        async with asyncio.timeout(_LINGER):
            for _ in range(64):
                if not await reader.read(4096):
                    return
    except TimeoutError:
        return
