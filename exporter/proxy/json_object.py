"""Reads JSON objects that may be malformed or of another shape than expected."""

import codecs
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
