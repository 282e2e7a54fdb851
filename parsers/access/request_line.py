"""Parse the request line of RFC 9112 §3, as access logs quote it."""

import re

from parsers.access.routes import INVALID, Routes
from parsers.batch import UNKNOWN
from parsers.values.http import method_of

#: Method, route and status code.
Labels = tuple[str, str, str]

_HEAD = rb"""[!#$%&'*+.^_`|~0-9A-Za-z-]++ /[^ ?#"\\\n]*+"""

#: `METHOD SP PATH`, the beginning of almost every request line, without escapes and query.
HEAD = re.compile(_HEAD)

#: A whole regular request line between quotes. Its group is the head.
REGULAR = rb"(" + _HEAD + rb")" + rb"""(?:[?#][^ "\\\n]*+)? HTTP/[0-9.]++"""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/[0-9.]+")


def method_and_route(request: bytes, routes: Routes) -> tuple[str, str]:
    """Return the labels of `METHOD SP TARGET SP HTTP/x`; (`unknown`, `invalid`) for any other text."""
    match = _REQUEST_LINE.fullmatch(request)
    if match is None:
        return UNKNOWN, INVALID
    return method_of(match[1]), routes.of_target(match[2])
