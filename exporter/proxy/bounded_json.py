"""JSON of any length in bounded memory: its long strings are replaced, everything else stays."""

import re

_LONGEST_STRING = 512
_LONGEST = 262144
#: Not empty, so that a long text still counts as one.
_REPLACEMENT = b"~"

_TO_THE_QUOTE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class BoundedJson:
    """A JSON document that comes in pieces."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._string_at = -1  # where the string that is open begins in what is kept, -1 outside
        self._skipping = False
        self._escaped = False
        self._too_long = False

    def __bool__(self) -> bool:
        return bool(self._kept)

    def feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece) and not self._too_long:
            at = self._outside(piece, at) if self._string_at < 0 else self._inside(piece, at)
            self._too_long = len(self._kept) > _LONGEST

    def take(self) -> bytes:
        """The document so far, "" if even its shortened form is too long; then begins anew."""
        kept = b"" if self._too_long else bytes(self._kept)
        self.__init__()  # type: ignore[misc]
        return kept

    def _outside(self, piece: bytes, at: int) -> int:
        quote = piece.find(b'"', at)
        end = len(piece) if quote < 0 else quote + 1
        self._kept += piece[at : min(end, at + _LONGEST + 1)]
        if quote >= 0:
            self._string_at = len(self._kept)
        return end

    def _inside(self, piece: bytes, at: int) -> int:
        begin = at
        if self._escaped:
            at, self._escaped = at + 1, False
        match = _TO_THE_QUOTE.match(piece, at)
        assert match is not None
        end = match.end()
        if piece[end : end + 1] == b"\\":  # the last byte: what it escapes comes with the next piece
            end, self._escaped = end + 1, True
        if not self._skipping and len(self._kept) - self._string_at + end - begin > _LONGEST_STRING:
            del self._kept[self._string_at :]
            self._kept += _REPLACEMENT
            self._skipping = True
        if not self._skipping:
            self._kept += piece[begin:end]
        if end < len(piece) and not self._escaped:
            self._kept += b'"'
            self._string_at, self._skipping = -1, False
            end += 1
        return end
