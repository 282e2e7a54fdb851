"""The body of a client's request: read piece by piece, checked against its declared length, and bounded in memory."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    NoMoreData,
    ParseException,
)

from exporter.wsgi.responses import ClientDisconnected, RefusedError

_MAX_RUN_SECONDS = 0.02
_MIN_SLEEP_SECONDS = 1e-6  # with 0 the event loop would not poll the sockets
_PIECE_BYTES = 65536
#: What all requests of a worker may hold of their bodies together, beyond what each one may hold by itself.
_SHARED_BYTES, _OWN_BYTES = 64 << 20, 256 << 10
_BAD_FRAMING = (ParseException, InvalidChunkSize, ChunkMissingTerminator, InvalidChunkExtension)


_yielded_at = [0.0]


def yield_cpu() -> None:
    """Let the other greenlets run if this worker has not done so for 20 ms: gevent switches only when one waits.

    Call it in each loop over bytes that may already be in memory: gunicorn kills a worker that does not yield for 30 s,
    with all its requests.
    """
    if time.monotonic() - _yielded_at[0] > _MAX_RUN_SECONDS:
        gevent.sleep(_MIN_SLEEP_SECONDS)
        _yielded_at[0] = time.monotonic()


class RequestBody:
    """An iterable of pieces. It raises RefusedError for a malformed chunk, ClientDisconnected for an incomplete body.

    `framing` holds the header field that frames the same body in another request. `size` counts the bytes read so far.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        """Raises RefusedError for an unknown transfer coding (RFC 9112 §6.1)."""
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None and coding.strip().lower() != "chunked":
            raise RefusedError(501, "unknown transfer coding", close=True)
        length = environ.get("CONTENT_LENGTH")
        self.framing: list[tuple[str, str]] = []
        if length is not None:
            self.framing = [("Content-Length", str(int(length)))]
        elif coding is not None:
            self.framing = [("Transfer-Encoding", "chunked")]
        self.size = 0
        self.is_complete = not self.framing
        self._length = None if length is None else int(length)
        self._input = environ["wsgi.input"]

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._read():
            self.size += len(piece)
            yield piece
            yield_cpu()
        if self._length is not None and self.size < self._length:
            raise ClientDisconnected
        self.is_complete = True

    def _read(self) -> bytes:
        try:
            return bytes(self._input.read(_PIECE_BYTES))
        except _BAD_FRAMING:
            raise RefusedError(400, "the body's chunks are malformed", close=True) from None
        except (NoMoreData, OSError):
            raise ClientDisconnected from None


class SharedMemory:
    """Limits what all requests together hold of their bodies."""

    def __init__(self, free: int = _SHARED_BYTES) -> None:
        self._free = free

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that notes how many bytes a request holds until the end of the context.

        It raises RefusedError (503) if there is not enough memory.
        """
        taken = 0

        def hold(size: int) -> None:
            nonlocal taken
            missing = max(0, size - _OWN_BYTES - taken)
            if missing > self._free:
                raise RefusedError(503, "too many large bodies at once", close=True)
            self._free -= missing
            taken += missing

        try:
            yield hold
        finally:
            self._free += taken
