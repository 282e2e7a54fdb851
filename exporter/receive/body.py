"""The body of a request: read completely, inflated, and bounded in size, in time and in memory."""

import io
import zlib
from collections.abc import Iterator

import gevent

from exporter.wsgi.body import RequestBody, SharedMemory, yield_cpu
from exporter.wsgi.inflater import ENCODINGS, Inflater
from exporter.wsgi.responses import ClientDisconnected, Environ, RefusedError

#: Limit of a body as it is sent, and of what it is inflated to.
MAX_BYTES = 64 << 20
#: A client that sends nothing for so long, or is not done after so long, loses its connection.
_MAX_SILENCE_SECONDS = 10.0
_MAX_SECONDS = 60.0


def read_body(environ: Environ, memory: SharedMemory) -> bytes:
    """The whole body, inflated. Raises RefusedError (400, 413, 415, 503) and ClientDisconnected."""
    encoding = str(environ.get("HTTP_CONTENT_ENCODING", "")).strip().lower()
    if encoding not in ("", "identity", *ENCODINGS):
        message = "the content encoding is not supported, expected gzip, deflate or none"
        raise RefusedError(415, message, close=True)
    pieces: Iterator[bytes] = received(environ)
    if encoding in ENCODINGS:
        pieces = _inflated(pieces)
    buffer, size = io.BytesIO(), 0
    try:
        with memory.share() as hold:
            for piece in pieces:
                size += len(piece)
                if size > MAX_BYTES:
                    raise _too_large()
                hold(size)
                buffer.write(piece)
            return buffer.getvalue()  # not a copy: BytesIO hands its bytes over
    except MemoryError:
        raise RefusedError(503, "not enough memory", close=True) from None


def received(environ: Environ) -> Iterator[bytes]:
    """The body as it is sent, piece by piece. Raises RefusedError (400, 413) and ClientDisconnected."""
    if int(environ.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
        raise _too_large()
    environ["gunicorn.socket"].settimeout(_MAX_SILENCE_SECONDS)
    body = RequestBody(environ)
    with gevent.Timeout(_MAX_SECONDS, ClientDisconnected()):
        for piece in body:
            if body.size > MAX_BYTES:
                raise _too_large()
            yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Raises RefusedError (400) if the body is damaged or not complete."""
    inflater = Inflater()
    try:
        for packed in pieces:
            for inflated in inflater.feed(packed):
                yield inflated
                yield_cpu()
    except zlib.error:
        raise _damaged() from None
    if not inflater.is_complete:
        raise _damaged()


def _damaged() -> RefusedError:
    return RefusedError(400, "the compressed body is damaged", close=True)


def _too_large() -> RefusedError:
    return RefusedError(413, "the body is larger than 64 MiB", close=True)
