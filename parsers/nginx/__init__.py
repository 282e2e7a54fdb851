"""nginx: its access log in any log_format, and its error log."""

import re
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import cached_property
from typing import Any, ClassVar

from parsers.access import rows as access
from parsers.access.format import Piece, compiled
from parsers.access.routes import table
from parsers.access.rows import Access, Roles
from parsers.batch import Batch
from parsers.lines import Outcome, by_line
from parsers.nginx import advice, error, log_format
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.times import zone

#: Which variable plays which role; of several for one role the earlier wins.
_ROLES = {
    "request": access.REQUEST,
    "request_method": access.METHOD,
    "request_uri": access.TARGET,
    "uri": access.PATH,
    "document_uri": access.PATH,
    "status": access.STATUS,
    "body_bytes_sent": access.BYTES,
    "bytes_sent": access.BYTES,
    "request_time": access.DURATION,
    "upstream_header_time": access.FIRST_BYTE,
    "msec": access.TIME_EPOCH,
    "time_iso8601": access.TIME_ISO,
    "time_local": access.TIME_COMMON,
}

_HEXADECIMAL = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_JSON_ESCAPE = re.compile(rb'\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(["\\/bfnrt]))')
_JSON_CHARACTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Nginx(Parser, frozen=True):
    """`format` is dify (as shipped), dify-timed, combined, ingress-nginx, error, or a log_format as in nginx.conf."""

    format: str = "dify"
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    services: ClassVar[tuple[str, ...]] = ("nginx",)

    guesses: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"format": format} for format in (log_format.ERROR, *log_format.BUILT_IN)
    )

    def __post_init__(self) -> None:
        _ = self._zone, self._access

    @cached_property
    def _zone(self) -> tzinfo:
        return zone(self.timezone)

    @cached_property
    def _pieces(self) -> tuple[tuple[Piece, ...], str]:
        """The pieces of the access log's format and how quotes in their values are read.

        Of a JSON format without escape=json both nginx' own escape (`\\x22`) and JSON's (`\\"`) are read: neither
        leaves a quote without a backslash in a value, so that a value ends at the same place in both.
        """
        pieces, escape = log_format.pieces(self.format)
        return pieces, "json" if escape == "default" and log_format.is_json(pieces) else escape

    @cached_property
    def _access(self) -> Access | None:
        """None for the error log."""
        if self.format == log_format.ERROR:
            return None
        pieces, escape = self._pieces
        format = compiled(pieces, frozenset(_ROLES), escape)
        columns = access.columns_of(format, _ROLES)
        if not columns.keys() & {access.STATUS, access.REQUEST, access.TARGET, access.PATH}:
            raise ValueError("format: expected $status or $request among its variables")
        return Access(format, Roles(columns), table(self.routes), self._zone, _UNESCAPES[escape])

    def parse(self, window: bytes, final: bool = False) -> Batch:
        if self._access is None:
            return by_line(window, final, self._error)
        return self._access.parse(window, final, self._error)

    def _error(self, line: bytes) -> Outcome:
        """Of an access log too: a container's one stream holds both."""
        return error.read(line, self._zone)

    def matched_length(self, line: bytes) -> int:
        return error.matched_length(line) if self._access is None else self._access.format.matched_length(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return error.KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        told = self._access is not None and access.STATUS in self._access.roles.columns
        return FAILURES if told else frozenset()

    def advice(self, sample: Batch) -> tuple[str, ...]:
        if self._access is None:
            return ()
        return tuple(advice.sentences(*log_format.pieces(self.format), self._access.roles.columns))

    def remedy(self, line: bytes) -> str:
        if self._access is None or self._pieces[1] == "json" or b'\\"' not in line:
            return ""
        fits = compiled(self._pieces[0], frozenset(), "json").pattern.match(line)
        return advice.ESCAPE_JSON if fits else ""


def _default(value: bytes) -> bytes:
    if b"\\x" not in value:
        return value
    return _HEXADECIMAL.sub(lambda match: bytes.fromhex(match[1].decode()), value)


def _json(value: bytes) -> bytes:
    """JSON's escapes, and nginx' own, which no JSON holds."""
    if b"\\" not in value:
        return value

    def character(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return chr(int(match[1], 16)).encode("utf-8", "replace")
        if match[2]:
            return bytes.fromhex(match[2].decode())
        return _JSON_CHARACTERS.get(match[3], match[3])

    return _JSON_ESCAPE.sub(character, value)


_UNESCAPES: Mapping[str, Callable[[bytes], bytes]] = {"default": _default, "json": _json, "none": lambda value: value}
