"""Parse the plugin daemon's log, the only log of a default Dify with durations of model calls.

Its access lines have four formats (dify-plugin-daemon, pkg/…/middleware): gin's fixed-width lines up to 0.5.2 (the
sandbox still writes them); lines of the daemon's own logger in some builds of that time; and from 0.5.3 on
`TIME SEVERITY dify-plugin-daemon FILE:LINE …` and JSON lines. An access line is written at the end of a call, so its
duration is that of the whole stream.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from parsers.access import format
from parsers.advice import Advice
from parsers.batch import Batch, Failure, Invocation, Record
from parsers.blocks import parse_blocks
from parsers.dropped import dropped, with_dropped_time
from parsers.heads import begins_json_record, begins_record
from parsers.lines import Outcome, without_colors
from parsers.parser import Parser
from parsers.plugin_daemon import access
from parsers.plugin_daemon.errors import KINDS, PLUGIN_ERROR, kind_of_json, kind_of_text
from parsers.plugin_daemon.operations import operation_of
from parsers.values import json as lenient_json
from parsers.values.http import status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND, nanoseconds
from parsers.values.patterns import lazy
from parsers.values.times import iso, zone

_GIN_PARTS = (
    rb"\[GIN\] ", rb"(\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d) ", rb"\| *(\d{3}) ", rb"\| *([0-9a-z.\xc2\xb5\xce\xbc]+) ",
    rb"\| *[^ |]* *\| *", rb'[^ "]+ +', rb'"((?:[^"\\]|\\.)*)"',
)  # fmt: skip
_GIN = lazy(b"".join(_GIN_PARTS), re.DOTALL)
_GO_LOG = lazy(rb"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (?:[\w./-]+\.go:\d+:? ?)?(.*)", re.DOTALL)
#: `[START] IP TRACE METHOD PATH "USER" STATUS DURATION map[…]` behind the time of Go's logger. The user id may contain
#: any text, so the last match of its end counts.
_TIMED_ACCESS = lazy(
    rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] [^ ]{1,64} [^ ]{0,64} [A-Z]{1,16} (/[^ \"]*+) \"(?:.*)\" "
    rb"(\d{3}) ([0-9a-z.\xc2\xb5\xce\xbc]{1,32}) map\[",
    re.DOTALL,
)
_TEXT_PARTS = (
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.?\d*(?:Z|[+-]\d\d:\d\d)) ", rb"([A-Z]+) ", rb"dify-plugin-daemon ",
    rb"([\w./-]+):\d+ ?", rb"(.*)",
)  # fmt: skip
_TEXT = lazy(b"".join(_TEXT_PARTS), re.DOTALL)
#: The beginning of an access line in an unknown format, behind the time of Go's logger.
_SECOND_TIME = lazy(rb"\[\d{4}-\d\d-\d\d \d\d:")
#: Records of the sandbox, written by Go's slog. They contain nothing to count.
_SANDBOX = lazy(rb'\{"time":"[^"]*","level":"[A-Z]+","msg":')
_JSON_HEAD = lazy(rb'\{"(?:attributes|caller|identity|message|service|severity|span_id|trace_id|ts)":')
#: key=value in any order. A value with blanks is quoted by the rules of Go.
_PAIR = lazy(rb'(?<!\w)(\w+)=("(?:[^"\\]|\\.)*"|[^ "]*)', re.DOTALL)
#: An access line, up to the end of the line: the text of a client before it (a user id is not quoted) can neither hide
#: nor forge one.
_ACCESS = lazy(rb'(?<!\S)HTTP request((?: \w++=(?:"[^"\\]*+(?:\\.[^"\\]*+)*"|[^ "]*+))+)\Z', re.DOTALL)
#: The file that logs it (pkg/utils/log/middleware.go).
_ACCESS_CALLER = b"middleware.go"
_GO_DURATION = lazy(rb"([0-9.]+)(h|ms|m|s|\xc2\xb5s|\xce\xbcs|us|ns)")
_GO_UNITS = {
    b"h": 3600 * SECOND, b"m": 60 * SECOND, b"s": SECOND, b"ms": MILLISECOND,
    b"\xc2\xb5s": MICROSECOND, b"\xce\xbcs": MICROSECOND, b"us": MICROSECOND, b"ns": 1,
}  # fmt: skip

_LATENCY = lazy(rb"[0-9]{1,12}(?:\.[0-9]{1,9})?")

_ERRORS = frozenset({b"ERROR", b"FATAL", b"PANIC"})


class _AccessAttributes(Struct, frozen=True, gc=False):
    status: Any = None
    latency_ms: Any = None
    path: Any = None


#: The name of the program in its JSON lines (pkg/utils/log/log.go). The api's and the worker's lines have the same
#: members, and another name.
SERVICE = "dify-plugin-daemon"


class _JsonLine(Struct, frozen=True, gc=False):
    ts: str
    severity: str
    message: str
    service: Any = SERVICE
    attributes: msgspec.Raw = msgspec.Raw(b"{}")


_decode = lenient_json.decoder(_JsonLine)
_read_access = lenient_json.reader(_AccessAttributes)


def go_duration(text: bytes) -> int | None:
    """Parse a Go duration (`1m41s`, `98.7µs`, `0s`) to nanoseconds; None for any other text."""
    total, end = 0, 0
    for part in _GO_DURATION.finditer(text):
        value = nanoseconds(part[1], _GO_UNITS[part[2]])
        if part.start() != end or value is None:
            return None
        total, end = total + value, part.end()
    return total if end == len(text) and text else None


_ADVICE = Advice("the plugin daemon's log names no model, no app and no tokens; its durations are those of whole calls")


class PluginDaemon(Parser, frozen=True):
    """Parses the plugin daemon's log. `timezone` is the zone of gin's times, which have none."""

    services: ClassVar[tuple[str, ...]] = ("plugin_daemon",)

    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _ = self._zone

    @cached_property
    def _zone(self) -> Any:
        return zone(self.timezone)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        readers = (lambda block: access.gin(block, self._zone), access.text, access.json)
        return parse_blocks(window, final, readers, self._line)

    def matched_length(self, line: bytes) -> int:
        plain = without_colors(line)
        if _JSON_HEAD.match(plain):
            return lenient_json.matched_length(plain)
        return max(format.matched_length(_GIN_PARTS, plain), format.matched_length(_TEXT_PARTS, plain))

    def ignores_continuations(self) -> bool:
        return True

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return frozenset()

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        return (_ADVICE,)

    def _line(self, line: bytes) -> Outcome:
        if b"\x1b" in line:
            line = without_colors(line)
        found = _json(line) if line.startswith(b"{") else _text(line)
        if found is None or isinstance(found, str):
            return found
        time, records = found
        at = iso(time.replace(b" - ", b" "), self._zone)
        return with_dropped_time(records, time, at), at


#: The time of a line as it is written, and its records; or as in Outcome.
_Found = tuple[bytes, Sequence[Record]] | None | str


def _text(line: bytes) -> _Found:
    if line.startswith(b"[GIN] "):
        if match := _GIN.fullmatch(line):
            return match[1], _invocation(match[4], match[2], match[3], go_duration(match[3]))
        # At its start gin prints a legend of colors and its routes with the same prefix.
        return "format" if line[6:10].isdigit() else None
    if match := _TEXT.fullmatch(line):
        return match[1], _message(match[2], match[3], match[4])
    if match := _GO_LOG.fullmatch(line):
        if line.endswith(b"]") and (access := _TIMED_ACCESS.match(match[2])):
            return match[1], _invocation(access[1], access[2], access[3], go_duration(access[3]))
        return "format" if _SECOND_TIME.match(match[2]) else (match[1], _go_log(match[2]))
    return "format" if begins_record(line) or b"\0" in line else None


def _message(severity: bytes, caller: bytes, message: bytes) -> Sequence[Record]:
    # The known parts of the identity precede the message, in this order.
    message = re.sub(rb'^(?:(?:trace_id|tenant_id|user_id)=(?:"(?:[^"\\]|\\.)*"|[^ "]*) )*', b"", message)
    # The provider's text at the end of a plugin's error may imitate an access line, and a user id may imitate
    # such an error.
    is_error = severity in _ERRORS and message.startswith(PLUGIN_ERROR) and not caller.endswith(_ACCESS_CALLER)
    access = None if is_error else _ACCESS.search(message)
    if access is None:
        return (Failure(kind_of_text(message)),) if severity in _ERRORS else ()
    pairs = {pair[1]: pair[2].strip(b'"') for pair in _PAIR.finditer(access[1])}
    milliseconds = pairs.get(b"latency_ms", b"")
    duration = nanoseconds(milliseconds, MILLISECOND) if _LATENCY.fullmatch(milliseconds) else None
    return _invocation(pairs.get(b"path", b""), pairs.get(b"status", b""), milliseconds, duration)


def _json(line: bytes) -> _Found:
    try:
        record = _decode(line)
    except msgspec.ValidationError:
        return "format" if begins_json_record(line) and not _SANDBOX.match(line) else None
    except (ValueError, RecursionError):
        return "json" if _JSON_HEAD.match(line) else None
    if record.service != SERVICE:
        return "format"
    time = record.ts.encode("ascii", "replace")
    if record.message != "HTTP request":
        is_error = record.severity.encode("ascii", "replace") in _ERRORS
        return time, (Failure(kind_of_json(record.message, record.attributes)),) if is_error else ()
    if (access := _read_access(record.attributes)) is None:
        return time, ()
    path = access.path.encode() if isinstance(access.path, str) else b""
    return time, _invocation(path, access.status, access.latency_ms, nanoseconds(access.latency_ms, MILLISECOND))


def _invocation(path: bytes, status: object, latency: object, duration: int | None) -> tuple[Record, ...]:
    """Return a call and its values that are not understood; nothing for a path that is not a dispatch path.

    `status` and `latency` are the values as they are written: text, or a value from JSON. `duration` is in nanoseconds.
    """
    operation = operation_of(path)
    if operation is None:
        return ()
    text = status if isinstance(status, bytes) else b"%d" % status if isinstance(status, int) else b""
    call = Invocation(operation, status_code_of(text), duration)
    if duration is not None and text.isdigit():
        return (call,)
    known = text if text.isdigit() else None
    return call, *dropped("status_code", status, known), *dropped("duration", latency, duration)


def _go_log(message: bytes) -> tuple[Record, ...]:
    """Read a message of Go's logger (up to 0.5.2): `factory.go:28: [ERROR]…`. Records of GORM have no level."""
    if not message.startswith((b"[ERROR]", b"[PANIC]", b"[Recovery]")):
        return ()
    return (Failure(kind_of_text(message.removeprefix(b"[ERROR]"))),)
