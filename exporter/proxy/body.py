"""The request's body on its way to Dify, in pieces, exactly as long as it was announced."""

from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    NoMoreData,
    ParseException,
)

from exporter.proxy.errors import ClientLeft, RefusedError
from exporter.proxy.headers import Fields
from exporter.proxy.yield_cpu import yield_cpu

_PIECE_BYTES = 65536
_BAD_FRAMING = (ParseException, InvalidChunkSize, ChunkMissingTerminator, InvalidChunkExtension)


class RequestBody:
    """Iterating it raises RefusedError for a bad chunk and ClientLeft where the client stops early."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        """Raises RefusedError for a transfer coding that we do not know (RFC 9112 §6.1)."""
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None and coding.strip().lower() != "chunked":
            raise RefusedError("501 Not Implemented", "not_implemented", "unknown transfer coding", close=True)
        length = environ.get("CONTENT_LENGTH")
        self.fields: Fields = []
        if length is not None:
            self.fields = [("Content-Length", str(int(length)))]
        elif coding is not None:
            self.fields = [("Transfer-Encoding", "chunked")]
        self.expected = bool(self.fields)
        self.size = 0
        self.complete = not self.expected
        self._length = None if length is None else int(length)
        self._input = environ["wsgi.input"]

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._read():
            self.size += len(piece)
            yield piece
            yield_cpu()
        if self._length is not None and self.size < self._length:
            raise ClientLeft
        self.complete = True

    def _read(self) -> bytes:
        try:
            return bytes(self._input.read(_PIECE_BYTES))
        except _BAD_FRAMING:
            raise RefusedError(
                "400 Bad Request", "bad_request", "the body's chunks are malformed", close=True
            ) from None
        except (NoMoreData, OSError):
            raise ClientLeft from None
