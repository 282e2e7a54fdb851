"""JSON of any length in bounded memory: its long strings are replaced, everything else stays.

Of a long string under `message` or `error` the beginning stays: it names the cause of a failure in fixed words.
"""

import codecs
import re
from typing import Any

from parsers.values import json as lenient_json

_LONGEST_STRING = 512
_LONGEST = 262144
#: Not empty, so that a long text still counts as one.
_REPLACEMENT = b"~"
#: Bytes that stay of the text of an error, and how many such texts a document may have.
_ERROR_TEXT_BYTES = 4096
_MOST_ERROR_TEXTS = 16

_TO_THE_QUOTE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_BEFORE_ERROR_TEXT = b'"message":"', b'"message": "', b'"error":"', b'"error": "'
#: Whole characters and escapes, a pair of surrogates as one: what may end where a string is cut.
_WHOLE = re.compile(
    rb"(?:[\x00-\x21\x23-\x5b\x5d-\x7f]+|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}"
    rb"|\\[^u]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"
)


_decode = lenient_json.decoder(object)


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object in a text, {} where it is none.

    Dify writes a blocking answer by json.dumps (api/libs/helper.py), so NaN and half a surrogate pair may be in it.
    """
    try:
        document = _decode(text.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


class BoundedJson:
    """A JSON document that comes in pieces."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._string_at = -1  # where the string that is open begins in what is kept, -1 outside
        self._skipping = False
        self._escaped = False
        self._too_long = False
        self._in_error_text = False
        self._error_texts = 0

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
            self._shorten(piece[begin:end])
        elif not self._skipping:
            self._kept += piece[begin:end]
        if end < len(piece) and not self._escaped:
            self._kept += b'"'
            self._string_at, self._skipping, self._in_error_text = -1, False, False
            end += 1
        return end

    def _shorten(self, more: bytes) -> None:
        """Cuts the string that is open, which is long with `more` behind it."""
        if not self._in_error_text:
            before = self._kept[max(self._string_at - 12, 0) : self._string_at]
            if not before.endswith(_BEFORE_ERROR_TEXT) or self._error_texts == _MOST_ERROR_TEXTS:
                self._kept[self._string_at :] = _REPLACEMENT
                self._skipping = True
                return
            self._in_error_text = True
            self._error_texts += 1
        self._kept += more[: _ERROR_TEXT_BYTES + 1]
        if len(self._kept) - self._string_at > _ERROR_TEXT_BYTES:
            text = bytes(self._kept[self._string_at : self._string_at + _ERROR_TEXT_BYTES])
            whole = _WHOLE.match(text)
            assert whole is not None
            self._kept[self._string_at :] = whole[0]
            self._skipping = True
