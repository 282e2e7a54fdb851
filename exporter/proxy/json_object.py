"""Reads JSON objects that may be malformed or of another shape than expected."""

import codecs
from collections.abc import Mapping
from typing import Any

from parsers.values import json as lenient_json

_decode = lenient_json.decoder(object)


def decode_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`, {} if `text` is no JSON object.

    Dify writes a blocking response with json.dumps (api/libs/helper.py), so NaN and half surrogate pairs may be in it.
    """
    try:
        document = _decode(text.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def nested(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, one inside the other; {} if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
