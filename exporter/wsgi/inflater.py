"""Inflates a compressed body piece by piece."""

import zlib
from collections.abc import Iterator

ENCODINGS = ("gzip", "x-gzip", "deflate")

_PIECE_BYTES = 65536
_WINDOW_BITS = 47  # zlib detects whether it is gzip or zlib


class Inflater:
    """One body in one of ENCODINGS. A gzip body may have several members (RFC 1952 §2.2)."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_WINDOW_BITS)

    @property
    def is_complete(self) -> bool:
        return self._stream.eof

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The content of a piece, at most 64 KiB at once. Raises zlib.error if the body is damaged."""
        while piece:
            if self._stream.eof:
                self._stream = zlib.decompressobj(_WINDOW_BITS)
            yield self._stream.decompress(piece, _PIECE_BYTES)
            piece = self._stream.unconsumed_tail or self._stream.unused_data
