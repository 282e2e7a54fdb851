"""Serves one client connection: reads one request at a time with h11 and sends the responses.

h11 rejects malformed requests, conflicting or repeated framing (request smuggling) and messages beyond its size limit.
Content negotiation (RFC 9110 §12.5) selects the exposition format (prometheus/docs, content_negotiation.md) and the
compression.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import h11
from msgspec import Struct

from exporter.metrics.exposition import OPEN_METRICS, PROTOBUF, TEXT, TEXT_1


class HttpRequest(Struct, frozen=True):
    """A request without its body. `headers` has lower-case names and the first value of each.

    `peer` is the client's address without its port.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    peer: str

    def header(self, name: str) -> str:
        """The value of a header, "" if it is missing. `name` is in lower case."""
        return self.headers.get(name.encode(), b"").decode("latin-1")


class Response(Struct, frozen=True):
    """A response. `headers` excludes Content-Type, Content-Length and the headers of every response."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


def text(status: int, sentence: str, **headers: str) -> Response:
    """A response of one sentence. The keyword `retry_after` becomes the header `Retry-After`."""
    named: dict[str, Any] = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Response(status, sentence.encode() + b"\n", headers=named)


#: Seconds for a whole request to arrive, and for a client to accept the next piece of a response.
TIMEOUT = 10.0
_MAX_HEAD_BYTES = 16 * 1024
_MAX_BODY_BYTES = 16 * 1024
_PIECE_BYTES = 64 * 1024

#: The client's states in which no more of its request is expected.
_CLIENT_FINISHED = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
#: Seconds to read on before a close.
_LINGER_SECONDS = 1.0

#: Makes the response to a request.
Respond = Callable[[HttpRequest], Awaitable[Response]]

#: Called when a client makes progress: a request is complete, or a piece was accepted. The argument is the number of
#: bytes of the response that are still unsent.
OnProgress = Callable[[int], None]


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, respond: Respond, on_progress: OnProgress
) -> None:
    """Serve requests until either side closes. Raises OSError or TimeoutError if the client disconnects or stalls."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
    while True:
        is_head = False
        try:
            async with asyncio.timeout(TIMEOUT):
                head = await _next_event(http, reader)
                if not isinstance(head, h11.Request):
                    return  # the client has closed, or h11 waits for the next cycle
                is_head = head.method == b"HEAD"
                if not await _discard_body(http, reader):
                    return
            on_progress(0)
            response = await respond(_http_request(head, peer))
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)  # only its phrase, because h11's messages may quote the client
            response = text(status, f"{status.phrase}.", connection="close")
        except TimeoutError:
            if http.trailing_data[0] == b"" and http.their_state is h11.IDLE:
                return  # an idle keep-alive connection
            response = text(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.", connection="close")
        if not await _send(http, writer, response, is_head, on_progress):
            if writer.can_write_eof() or http.their_state not in _CLIENT_FINISHED:
                await _linger(reader, writer)
            return
        http.start_next_cycle()


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    """The next event of h11; NEED_DATA from a client that waits for a response before it sends its body."""
    while (event := http.next_event()) is h11.NEED_DATA and not http.they_are_waiting_for_100_continue:
        http.receive_data(await reader.read(4096))
    return event


async def _discard_body(http: h11.Connection, reader: asyncio.StreamReader) -> bool:
    """Read the body of a request; no page uses one. Returns False if the client has closed."""
    size = 0
    while isinstance(event := await _next_event(http, reader), h11.Data):
        size += len(event.data)
        if size > _MAX_BODY_BYTES:
            raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
    return isinstance(event, h11.EndOfMessage) or event is h11.NEED_DATA


def _http_request(request: h11.Request, peer: str) -> HttpRequest:
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("unsupported HTTP version", error_status_hint=505)
    headers = {bytes(name): bytes(value) for name, value in reversed(request.headers)}
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise h11.RemoteProtocolError("two framings of one message (RFC 9112 §6.1)", error_status_hint=400)
    path, query = _path_and_query(request.target.decode("ascii"))
    return HttpRequest(request.method.decode("ascii"), path, query, headers, peer)


def _path_and_query(target: str) -> tuple[str, str]:
    """Path and query of a request target (RFC 9112 §3.2).

    `//a/b` is a path. If `a` were taken for a host, the path would be `/b`, which a reverse proxy in front may deny.
    """
    if "#" in target:
        raise h11.RemoteProtocolError("a target has no fragment", error_status_hint=400)
    if target.lower().startswith(("http://", "https://")):
        try:
            url = urlsplit(target)
        except ValueError:
            raise h11.RemoteProtocolError("the target is no URL", error_status_hint=400) from None
        return url.path or "/", url.query
    path, _, query = target.partition("?")
    return path, query


async def _send(
    http: h11.Connection, writer: asyncio.StreamWriter, response: Response, is_head: bool, on_progress: OnProgress
) -> bool:
    """Send a response. Returns whether the connection can serve another request."""
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Server", "dify-exporter"),
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        *response.headers.items(),
    ]
    if http.their_state is not h11.DONE and "Connection" not in response.headers:
        headers.append(("Connection", "close"))
    status = HTTPStatus(response.status)
    writer.write(http.send(h11.Response(status_code=status, headers=headers, reason=status.phrase)) or b"")
    unsent = memoryview(b"" if is_head else response.body)
    while unsent:
        on_progress(len(unsent))
        writer.write(http.send(h11.Data(data=bytes(unsent[:_PIECE_BYTES]))) or b"")
        unsent = unsent[_PIECE_BYTES:]
        async with asyncio.timeout(TIMEOUT):
            await writer.drain()
    on_progress(0)
    writer.write(http.send(h11.EndOfMessage()) or b"")
    async with asyncio.timeout(TIMEOUT):
        await writer.drain()
    return http.our_state is h11.DONE and http.their_state is h11.DONE


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lingering close (RFC 9112 §9.6): read on for a moment, so that the response arrives.

    Closing a socket with unread bytes sends a reset, which may discard the response. TLS has no half-closed state, so
    `serve` calls this over TLS only while the client is still sending.
    """
    if writer.can_write_eof():
        writer.write_eof()
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            for _ in range(64):
                if not await reader.read(4096):
                    return
    except TimeoutError:
        return


#: Media type, its parameters and content type. Of several with the same quality the first is selected.
_OFFERS = (
    (
        "application/vnd.google.protobuf",
        {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"},
        PROTOBUF,
    ),
    ("application/openmetrics-text", {"version": "1.0.0"}, OPEN_METRICS),
    ("text/plain", {"version": "1.0.0"}, TEXT_1),
    ("text/plain", {"version": "0.0.4"}, TEXT),
)
_MAX_RANGES = 64


def select_content_type(accept: str) -> str:
    """The offered content type with the highest quality; text 0.0.4 if none is acceptable, as other exporters do."""
    best, selected = 0.0, TEXT
    ranges = list(_ranges(accept))
    for media_type, offered, content_type in _OFFERS:
        matching = [
            (2 * ("*" not in media_range) + bool(requested.keys() & offered), quality)  # the most specific one counts
            for media_range, requested, quality in ranges
            if _matches(media_range, requested, media_type, content_type)
            and all(requested.get(name, value) == value for name, value in offered.items())
        ]
        quality = max(matching)[1] if matching else 0.0
        if quality > best:
            best, selected = quality, content_type
    return selected


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip, or `*` if gzip is not named, has a quality above 0."""
    qualities = {coding: quality for coding, _, quality in _ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _matches(media_range: str, requested: Mapping[str, str], media_type: str, content_type: str) -> bool:
    if content_type == TEXT_1 and "version" not in requested:
        return False  # text/plain without a version means the oldest version
    if media_range in ("*/*", "text/*"):
        return content_type == TEXT  # a wildcard means the format that every client can read
    return media_range == media_type


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The items of an Accept or Accept-Encoding header: name, parameters and quality."""
    for item in header.split(",")[:_MAX_RANGES]:
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        quality = parameters.pop("q", "1")
        is_valid = re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", quality)
        yield name.lower(), parameters, float(quality) if is_valid else 0.0
