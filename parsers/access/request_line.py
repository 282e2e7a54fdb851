"""The request line of RFC 9112 §3, as access logs quote it."""

import re

from parsers.access.routes import INVALID, Routes
from parsers.batch import UNKNOWN
from parsers.values.http import method_of

_HEAD = rb"""[!#$%&'*+.^_`|~0-9A-Za-z-]++ /[^ ?#"\\\n]*+"""

#: `METHOD SP PATH` as almost every request line begins: no escape, no query.
HEAD = re.compile(_HEAD)

#: A whole one between quotes; its group is the head.
REGULAR = rb"(" + _HEAD + rb")" + rb"""(?:[?#][^ "\\\n]*+)? HTTP/[0-9.]++"""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/[0-9.]+")


def method_and_route(request: bytes, routes: Routes) -> tuple[str, str]:
    """`METHOD SP TARGET SP HTTP/x` as two labels; anything else has no method and the route `invalid`."""
    match = _REQUEST_LINE.fullmatch(request)
    if match is None:
        return UNKNOWN, INVALID
    return method_of(match[1]), routes.of_target(match[2])
