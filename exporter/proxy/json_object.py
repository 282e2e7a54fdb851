"""Reads JSON objects that may be malformed or of another shape than expected."""

import codecs
from collections.abc import Mapping
from typing import Any

from parsers.values import json as lenient_json

_read = lenient_json.reader(object)


def decode_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`, {} if `text` is no JSON object.

    Dify writes a blocking response with json.dumps (api/libs/helper.py), so NaN and half surrogate pairs may be in it.
    """
    document = _read(text.removeprefix(codecs.BOM_UTF8))
    return document if isinstance(document, dict) else {}


def nested(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, one inside the other; {} if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
