"""Reads JSON objects that may be malformed or of another shape than expected."""

from collections.abc import Mapping
from typing import Any

import msgspec


def decode_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`, {} if `text` is no JSON object."""
    try:
        document = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def nested(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, one inside the other; {} if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
