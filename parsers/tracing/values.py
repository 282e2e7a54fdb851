"""Values of untrusted items that may go into a line: ids, names and numbers, never any other text."""

import hashlib
import re
from math import isfinite
from typing import Any

from parsers.batch import UNKNOWN
from parsers.dify.labels import app_id_of

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][-+]?[0-9]{1,3})?")
_COUNT = re.compile(r"[0-9]{1,15}")
_NAME_LENGTH = 128

#: Written where an item has a value that is no number, so that the reader of the line can count it as dropped.
NO_NUMBER = -1


def uuid_of(value: object) -> str | None:
    """Return a UUID in lower case, None for anything else."""
    uuid = app_id_of(value)
    return None if uuid == UNKNOWN else uuid.lower()


def identifier_of(value: object) -> str | None:
    """Return the part of a key that stands for an id: a UUID itself, the hash of any other text, None for no text."""
    if not isinstance(value, str) or not value:
        return None
    return uuid_of(value) or hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:32]


def name_of(value: object) -> str | None:
    """Return the name of a provider or model, at most 128 characters; None for a text with unprintable characters."""
    if not isinstance(value, str) or not value or not value[:_NAME_LENGTH].isprintable():
        return None
    return value[:_NAME_LENGTH]


def count_of(value: object) -> int | float | None:
    """Return a count of tokens for a line; NO_NUMBER for a value that is no number, None for none.

    A number that is no count (1.5, -3) is returned as it is, so that the reader of the line reports it.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return int(value) if _COUNT.fullmatch(value) else NO_NUMBER
    return _finite(value)


def seconds_of(value: object) -> int | float | None:
    """Return a duration in seconds for a line; NO_NUMBER for a value that is no number, None for none."""
    return None if value is None else _finite(value)


def price_of(value: Any) -> str | None:
    """Return a price for a line, as a decimal; "-1" for a value that is no number, None for none.

    A float is written with its shortest digits.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if _is_in_range(value) else ""
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else str(NO_NUMBER)


def _finite(value: object) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and _is_in_range(value)
    return value if is_number else NO_NUMBER  # type: ignore[return-value]  # mypy does not follow `is_number`


def _is_in_range(value: int | float) -> bool:
    return isfinite(value) and abs(value) < 2**63 if isinstance(value, float) else abs(value) < 2**63
