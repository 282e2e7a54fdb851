"""Parse nginx logs: the access log in any log_format, and the error log."""

import re
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import cached_property
from typing import Any, ClassVar

from parsers.access import roles
from parsers.access.format import FormatPiece, compiled
from parsers.access.roles import Roles
from parsers.access.routes import table
from parsers.access.rows import AccessReader
from parsers.advice import Advice
from parsers.batch import Batch
from parsers.frame import FrameOf
from parsers.lines import Outcome, by_line
from parsers.nginx import advice, error, log_format
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.patterns import lazy
from parsers.values.times import zone

#: The role of each variable. If several variables have the same role, the first one is used.
_ROLES = {
    "request": roles.REQUEST,
    "request_method": roles.METHOD,
    "request_uri": roles.TARGET,
    "uri": roles.PATH,
    "document_uri": roles.PATH,
    "status": roles.STATUS,
    "body_bytes_sent": roles.BYTES,
    "bytes_sent": roles.BYTES,
    "request_time": roles.DURATION,
    "upstream_header_time": roles.FIRST_BYTE,
    "msec": roles.TIME_EPOCH,
    "time_iso8601": roles.TIME_ISO,
    "time_local": roles.TIME_COMMON,
}

_HEXADECIMAL = lazy(rb"\\x([0-9A-Fa-f]{2})")
_JSON_ESCAPE = lazy(rb'\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(["\\/bfnrt]))')
_JSON_CHARACTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Nginx(Parser, frozen=True):
    """Parses nginx logs.

    `format` is `dify` (the format that Dify ships), `dify-timed`, `combined`, `ingress-nginx`, `error`, or a log_format
    as in nginx.conf. `timezone` is the zone of times without one. `routes` are templates of paths, in addition to
    Dify's own.
    """

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
    def _pieces(self) -> tuple[tuple[FormatPiece, ...], str]:
        """The pieces of the access log's format, and its escape mode.

        In a JSON format without escape=json, both nginx's own escape (`\\x22`) and JSON's (`\\"`) are understood. Both
        write a backslash before or instead of each quote inside a value, so a value ends at the same place in both.
        """
        pieces, escape = log_format.pieces(self.format)
        return pieces, "json" if escape == "default" and log_format.is_json(pieces) else escape

    @cached_property
    def _access(self) -> AccessReader | None:
        """The reader of access lines; None if the format is `error`."""
        if self.format == log_format.ERROR:
            return None
        pieces, escape = self._pieces
        format = compiled(pieces, frozenset(_ROLES), escape)
        columns = roles.columns_of(format, _ROLES)
        if not columns.keys() & {roles.STATUS, roles.REQUEST, roles.TARGET, roles.PATH}:
            raise ValueError("format: expected $status or $request among its variables")
        return AccessReader(format, Roles(columns), table(self.routes), self._zone, _UNESCAPES[escape])

    def parse(self, window: bytes, final: bool = False) -> Batch:
        if self._access is None:
            return by_line(window, final, self._error)
        return self._access.parse(window, final, self._error)

    def parse_stored(self, window: bytes, size: int, frame_of: FrameOf, *, in_json: bool) -> tuple[Batch, bytes]:
        if self._access is None:
            return Batch(), window[:size]
        return self._access.parse_columns(window, size, frame_of, in_json=in_json)

    def prepare(self) -> None:
        if self._access is not None:
            self._access.prepare()

    def _error(self, line: bytes) -> Outcome:
        """Read a line of the error log. It may be in an access log too: a container has one stream for both."""
        return error.read(line, self._zone)

    def matched_length(self, line: bytes) -> int:
        return error.matched_length(line) if self._access is None else self._access.format.matched_length(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return error.KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        has_status = self._access is not None and roles.STATUS in self._access.roles.columns
        return FAILURES if has_status else frozenset()

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        if self._access is None:
            return ()
        sentences = advice.sentences(*log_format.pieces(self.format), self._access.roles.columns)
        return tuple(map(Advice, sentences))

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
    """Undo the escapes of JSON, and nginx's own, which JSON does not have."""
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
