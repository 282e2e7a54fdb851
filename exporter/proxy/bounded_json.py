"""Reads JSON objects of an unexpected shape, and documents of any length in bounded memory.

Each string of more than 512 bytes is replaced by "~"; all other bytes are kept. A string under `message` or `error`
keeps its first 4096 bytes instead, because the cause of a failure is written there (parsers/dify/error_body.py).
"""

import codecs
import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from parsers.values import json as lenient_json

_reader = cache(partial(lenient_json.reader, object))


def decode_object(text: bytes, longest_repaired: int | None = None) -> dict[str, Any]:
    """The JSON object in `text`, {} if `text` is no JSON object. Longer JSON than `longest_repaired` must be valid.

    Dify writes a blocking response with json.dumps (api/libs/helper.py), so NaN and half surrogate pairs may be in it.
    """
    document = _reader(longest_repaired)(text.removeprefix(codecs.BOM_UTF8))
    return document if isinstance(document, dict) else {}


def nested(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, one inside the other; {} if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


_MAX_STRING_BYTES = 512
_MAX_DOCUMENT_BYTES = 262144
#: Not empty: a caller that looks for a first token must still see a text.
_REPLACEMENT = b"~"
#: How many bytes are kept of an error text, and of how many such texts per document.
_MAX_ERROR_TEXT_BYTES = 4096
_MAX_ERROR_TEXTS = 16

_TO_QUOTE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_ERROR_TEXT_KEYS = b'"message":"', b'"message": "', b'"error":"', b'"error": "'
#: Complete UTF-8 characters and complete JSON escapes, a surrogate pair as one. A string may be cut after any of them.
_COMPLETE_CHARACTERS = re.compile(
    rb"(?:[\x00-\x21\x23-\x5b\x5d-\x7f]+|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}"
    rb"|\\[^u]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"
)


class BoundedJson:
    """One JSON document that arrives in pieces. After `take` the next document begins."""

    def __init__(self) -> None:
        self._start_document()

    def _start_document(self) -> None:
        self._kept = bytearray()
        self._string_start = -1  # index in `_kept` of the first byte inside the open string; -1 outside a string
        self._is_skipping = self._is_escaped = self._is_too_long = self._is_error_text = False
        self._error_texts = 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    def feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece) and not self._is_too_long:
            at = self._outside_string(piece, at) if self._string_start < 0 else self._inside_string(piece, at)
            self._is_too_long = len(self._kept) > _MAX_DOCUMENT_BYTES

    def take(self) -> bytes:
        """Return the shortened document and start a new one. Returns b"" if the short form exceeds 256 KiB."""
        kept = b"" if self._is_too_long else bytes(self._kept)
        self._start_document()
        return kept

    def _outside_string(self, piece: bytes, at: int) -> int:
        """Copy from index `at` up to the next quote. Returns the index after the copied bytes."""
        quote = piece.find(b'"', at)
        end = len(piece) if quote < 0 else quote + 1
        self._kept += piece[at : min(end, at + _MAX_DOCUMENT_BYTES + 1)]
        if quote >= 0:
            self._string_start = len(self._kept)
        return end

    def _inside_string(self, piece: bytes, at: int) -> int:
        """Copy or skip the open string up to its closing quote. Returns the index after it."""
        start = at
        if self._is_escaped:
            at, self._is_escaped = at + 1, False
        match = _TO_QUOTE.match(piece, at)
        assert match is not None
        end = match.end()
        if piece[end : end + 1] == b"\\":  # the last byte of the piece; the next piece begins with the escaped byte
            end, self._is_escaped = end + 1, True
        if not self._is_skipping and len(self._kept) - self._string_start + end - start > _MAX_STRING_BYTES:
            self._shorten(piece[start:end])
        elif not self._is_skipping:
            self._kept += piece[start:end]
        if end < len(piece) and not self._is_escaped:
            self._kept += b'"'
            self._string_start, self._is_skipping, self._is_error_text = -1, False, False
            end += 1
        return end

    def _shorten(self, more: bytes) -> None:
        """Shorten the open string, which exceeds 512 bytes together with `more`."""
        if not self._is_error_text:
            before = self._kept[max(self._string_start - 12, 0) : self._string_start]
            if not before.endswith(_ERROR_TEXT_KEYS) or self._error_texts == _MAX_ERROR_TEXTS:
                self._kept[self._string_start :] = _REPLACEMENT
                self._is_skipping = True
                return
            self._is_error_text = True
            self._error_texts += 1
        self._kept += more[: _MAX_ERROR_TEXT_BYTES + 1]
        if len(self._kept) - self._string_start > _MAX_ERROR_TEXT_BYTES:
            text = bytes(self._kept[self._string_start : self._string_start + _MAX_ERROR_TEXT_BYTES])
            complete = _COMPLETE_CHARACTERS.match(text)
            assert complete is not None
            self._kept[self._string_start :] = complete[0]
            self._is_skipping = True
