"""Decode JSON leniently: a value that is not valid JSON is replaced, so that the rest of its line can be read.

Python's `json.dumps`, which Dify falls back to, writes NaN, Infinity and half a surrogate pair. A log may also hold
numbers beyond the range of a float, and bytes that are not UTF-8.
"""

import json
import re
from collections.abc import Callable
from itertools import islice
from math import isfinite
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: A string, with or without its closing quote, or a number, including those that are not valid JSON. A string with more
#: escapes is found in parts, because the engine remembers each repetition of a group: 60 bytes for each escape.
_TOKEN = re.compile(
    r'(?:"|(?=\\))[^"\\]*+(?:\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\)?.[^"\\]*+){0,999}(?:\\\Z|")?'
    r"|-?(?:[0-9][-+.0-9eE]*+|NaN|Infinity)",
    re.DOTALL,
)
#: A string, and what separates values. A string is matched in parts of up to 1,000 escapes: the engine remembers each
#: repetition of a group. No part is tried twice, so this takes linear time.
_COUNTED = re.compile(rb'(?:"|\\.)[^"\\]*+(?:\\.[^"\\]*+){0,999}"?|[,{\[]', re.DOTALL)
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def decoder(type: type[T], longest: int | None = None) -> Callable[[bytes | msgspec.Raw], T]:
    """Return a function that decodes a line to this type.

    A text of more than `longest` bytes is not repaired, because that takes a quarter of a second per megabyte.

    The function raises msgspec.ValidationError for JSON of another type, and ValueError or RecursionError for a text
    that is not JSON.
    """
    decode = msgspec.json.Decoder(type).decode

    def decode_leniently(line: bytes | msgspec.Raw) -> T:
        try:
            return decode(line)
        except ValueError as error:
            is_too_long = longest is not None and len(bytes(line)) > longest
            if is_too_long or (isinstance(error, msgspec.ValidationError) and "out of range" not in str(error)):
                raise
            return decode(_TOKEN.sub(_repaired, str(line, "utf-8", "replace")))

    return decode_leniently


def reader(type: type[T], longest: int | None = None) -> Callable[[bytes | msgspec.Raw], T | None]:
    """Like `decoder`, but the function returns None instead of raising an error."""
    decode = decoder(type, longest)

    def read(text: bytes | msgspec.Raw) -> T | None:
        try:
            return decode(text)
        except (ValueError, RecursionError):
            return None

    return read


def has_more_tokens(text: bytes, most: int) -> bool:
    """Return whether a JSON text has more strings, commas and opening brackets than `most`, which take memory."""
    return next(islice(_COUNTED.finditer(text), most, None), None) is not None


def matched_length(line: bytes) -> int:
    """Return how many bytes at the beginning of a line are JSON."""
    try:
        json.loads(line.decode("latin-1"))
    except json.JSONDecodeError as error:
        return len(line) if error.msg.startswith("Unterminated") else error.pos
    except (ValueError, RecursionError):  # an integer of 5,000 digits
        return 0
    return len(line)


def _repaired(match: re.Match[str]) -> str:
    """Turn NaN, Infinity and too large numbers into strings, and half a surrogate pair into U+FFFD."""
    token = match[0]
    if token[0] not in '"\\':
        return token if isfinite(float(token)) else f'"{token}"'
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], token) if "\\u" in token else token
