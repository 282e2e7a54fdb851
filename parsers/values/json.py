"""JSON whose writer let something slip: one bad value costs itself and not its line.

Python's `json.dumps`, to which Dify falls back, writes NaN, Infinity and half a surrogate pair; a log may hold
numbers beyond a float's range and bytes that are no UTF-8.
"""

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: A string, with or without its end, or a number, also one that JSON does not know.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*\\?"?|-?(?:[0-9][-+.0-9eE]*|NaN|Infinity)', re.DOTALL)
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def decoder(type: type[T]) -> Callable[[bytes | msgspec.Raw], T]:
    """A function that decodes a line. It raises msgspec.ValidationError for another shape, ValueError or
    RecursionError for what is no JSON.
    """
    decode = msgspec.json.Decoder(type).decode

    def decoded(line: bytes | msgspec.Raw) -> T:
        try:
            return decode(line)
        except ValueError as error:
            if isinstance(error, msgspec.ValidationError) and "out of range" not in str(error):
                raise
            return decode(_TOKEN.sub(_repaired, str(line, "utf-8", "replace")))

    return decoded


def reach(line: bytes) -> int:
    """Where a line stops being JSON, in bytes."""
    try:
        json.loads(line.decode("latin-1"))
    except json.JSONDecodeError as error:
        return len(line) if error.msg.startswith("Unterminated") else error.pos
    except (ValueError, RecursionError):  # an integer of 5,000 digits
        return 0
    return len(line)


def _repaired(match: re.Match[str]) -> str:
    """A number that is none, or beyond all bounds, becomes a string, half a surrogate pair U+FFFD."""
    token = match[0]
    if token[0] != '"':
        return token if isfinite(float(token)) else f'"{token}"'
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], token) if "\\u" in token else token
