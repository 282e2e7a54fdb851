"""Parse gunicorn's access log in any access_log_format (gunicorn/glogging.py), mixed with lines of its error log."""

import re
from functools import cached_property
from typing import Any, ClassVar

from parsers.access import roles
from parsers.access.format import Extent, FormatPiece, Variable, compiled
from parsers.access.request_line import REGULAR
from parsers.access.roles import Roles
from parsers.access.routes import table
from parsers.access.rows import AccessReader
from parsers.advice import Advice
from parsers.batch import Batch, Failure
from parsers.dropped import with_dropped_time
from parsers.lines import Outcome
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND
from parsers.values.patterns import lazy
from parsers.values.times import iso, zone

#: gunicorn's own default.
DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
#: The format that our documentation recommends.
TIMED = DEFAULT + " %(L)s"

_ATOM = lazy(r"%\(([^()]+)\)[sd]|%(%)")
_ROLES = {
    "r": roles.REQUEST,
    "m": roles.METHOD,
    "U": roles.PATH,
    "s": roles.STATUS,
    "B": roles.BYTES,
    "b": roles.BYTES,
    "L": roles.DURATION,
    "D": roles.DURATION,
    "M": roles.DURATION,
    "T": roles.DURATION,
    "t": roles.TIME_COMMON,
}
_UNITS = {"L": SECOND, "D": MICROSECOND, "M": MILLISECOND, "T": SECOND}

#: %(t)s includes its brackets, %(l)s is always a dash, and %(L)s always has decimals, unlike the other durations.
_SHAPES = {
    "l": rb"-",
    "t": rb"\[[0-9]{2}/[^\] \n]{1,30}+ [+-][0-9]{4}\]",
    "L": rb"(?:[0-9]++\.[0-9]++|-?)",
    **dict.fromkeys("sbBDMT", rb"(?:[0-9]++|-?)"),
}
#: gunicorn writes the user name and the path decoded, so they may contain blanks; a header may be a list.
_EXTENTS = {"u": Extent.FIRST, "r": Extent.LAST, "U": Extent.LAST, "{x-forwarded-for}i": Extent.CLIENTS}

#: `[2026-11-23 08:53:05 +0000] [11056] [INFO] Booting worker with pid: 11058`. A log shipper may remove the time.
ERROR_LOG_LINE = lazy(rb"(?:\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] )?\[\d+\] \[([A-Z]+)\] (.*)", re.DOTALL)
#: What gevent prints behind the traceback of an exception that nothing caught (gevent/hub.py, print_exception):
#: `2026-12-01T02:36:56Z <Greenlet at 0x7f1a7e09c720: boom> failed with ValueError`, or the environment of a request.
GEVENT_FAILURE = lazy(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) [<{(].* failed with [A-Za-z_]\w*", re.DOTALL)
#: No record begins with these; the lines of tracebacks and bodies do.
INDENTS = b" \t"
_TRACEBACK = lazy(
    rb"\s|Traceback \(most recent call last\):|During handling of the above |The above exception was "
    rb"|[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b"
    rb"|(?:[A-Za-z_]\w*\.)+[A-Z]\w*(?:: |\Z)"  # another exception, such as werkzeug.exceptions.NotFound
    rb"|\[(?:SQL|parameters|generated in): |\(Background on this error at: |(?:FROM|WHERE|VALUES|SET) \S"  # SQLAlchemy
    rb"|LINE \d{1,6}: |(?:DETAIL|HINT|CONTEXT|QUERY):  "  # PostgreSQL
    rb"|<gevent\._socket3\.socket "  # a request that gevent/pywsgi.py cannot read
)
#: Records of the application on the same standard output, which the dify parser reads.
_APPLICATION = lazy(
    rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d{1,3}(?:\.\d{3})? [A-Z]+ +\[|\{"ts": ?"'
    rb"|[0-9A-Za-z][0-9A-Za-z:/.,+ _-]{0,47}?[.,]\d{1,3}(?:\.\d{3})? [A-Z]+ +\["  # another LOG_DATEFORMAT
)

#: Messages that repeat an earlier record.
_REPEATED = lazy(rb"Worker \(pid:\d+\) (?:was sent SIG|exited)|Shutting down: |Reason: ")

_NO_DURATION = (
    "this gunicorn format carries no duration: latency metrics stay empty; "
    "add %(L)s to --access-logformat in GUNICORN_CMD_ARGS; if Apache httpd writes this log, see docs/other-logs.md"
)
_NO_PATH = "this gunicorn format carries no request path: the route of every request is unknown; add %(r)s"
_DECODED = (
    "this gunicorn format writes the decoded path: a client can break a line in two and forge the second; "
    "use %(r)s instead of %(U)s"
)
_USER = (
    "this gunicorn format writes the decoded user name: a client can break a line in two and forge the second; "
    "use - instead of %(u)s"
)


class Gunicorn(Parser, frozen=True):
    """Parses gunicorn's logs.

    `format` is its access_log_format. The default has no duration; add %(L)s, %(M)s or %(D)s. `timezone` is the zone of
    times without one. `routes` are templates of paths, in addition to Dify's own.
    """

    format: str = DEFAULT
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    services: ClassVar[tuple[str, ...]] = ("api", "api_websocket")

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"format": TIMED})

    def __post_init__(self) -> None:
        _ = self._access

    @cached_property
    def _access(self) -> AccessReader:
        format = compiled(_pieces(self.format), frozenset(_ROLES), "gunicorn")
        columns = roles.columns_of(format, _ROLES)
        unit = next((unit for atom, unit in _UNITS.items() if atom in format.captured), SECOND)
        if not columns.keys() & {roles.STATUS, roles.REQUEST, roles.PATH}:
            raise ValueError("format: expected %(s)s or %(r)s among its atoms")
        return AccessReader(format, Roles(columns, unit), table(self.routes), zone(self.timezone), _unquoted)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return self._access.parse(window, final, self._other_line)

    def _other_line(self, line: bytes) -> Outcome:
        """Read a line that is not an access line."""
        if line[0] in INDENTS:
            return "format" if b"\0" in line else None
        if match := ERROR_LOG_LINE.fullmatch(line):
            at = iso(match[1] or b"", self._access.local)
            failures = error_log_failures(match[2], match[3])
            return (with_dropped_time(failures, match[1], at), at) if failures else None
        if match := GEVENT_FAILURE.fullmatch(line):
            at = iso(match[1], self._access.local)
            return with_dropped_time((Failure("unhandled_exception"),), match[1], at), at
        if _TRACEBACK.match(line):
            return "format" if b"\0" in line else None
        return None if _APPLICATION.match(line) else "format"

    def matched_length(self, line: bytes) -> int:
        return self._access.format.matched_length(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return FAILURES if roles.STATUS in self._access.roles.columns else frozenset()

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        columns = self._access.roles.columns
        has_decoded_path = roles.PATH in columns and roles.REQUEST not in columns
        has_user = any(isinstance(piece, Variable) and piece.name == "u" for piece in self._access.format.pieces)
        has_path = any(role in columns for role in (roles.PATH, roles.REQUEST))
        advice = {
            _NO_PATH: not has_path,
            _NO_DURATION: roles.DURATION not in columns,
            _DECODED: has_decoded_path,
            _USER: has_user,
        }
        return tuple(Advice(sentence) for sentence, applies in advice.items() if applies)


#: The kinds that `error_log_failures` may return.
KINDS = frozenset({"worker_timeout", "unhandled_exception", "other"})


def error_log_failures(level: bytes, message: bytes) -> list[Failure]:
    """Return the failure that a line of gunicorn's error log (gunicorn/arbiter.py) reports, if any.

    gunicorn logs the timeout of a worker again when it kills the worker, and a failed start again when the master ends.
    These later records are not counted.
    """
    if level == b"CRITICAL" and message.startswith(b"WORKER TIMEOUT"):
        return [Failure("worker_timeout")]
    if level not in (b"ERROR", b"CRITICAL") or _REPEATED.match(message):
        return []
    return [Failure("unhandled_exception" if message.startswith(b"Error handling request") else "other")]


def _pieces(format: str) -> list[FormatPiece]:
    """Split a format into atoms and the text between them. In the text, %% stands for a percent sign."""
    pieces: list[FormatPiece] = []
    text, end = "", 0
    for match in _ATOM.finditer(format):
        text += _text(format[end : match.start()]) + (match[2] or "")
        end = match.end()
        if match[1]:
            pieces += [text.encode(), _variable(match[1])]
            text = ""
    pieces.append((text + _text(format[end:])).encode())
    return [piece for piece in pieces if piece]


def _variable(atom: str) -> Variable:
    name = atom.lower() if atom.startswith("{") else atom
    return Variable(name, _EXTENTS.get(name, Extent.WORD), _SHAPES.get(name, b""), REGULAR if name == "r" else b"")


def _text(text: str) -> str:
    if "%" in text:
        raise ValueError(f'format: expected an atom such as %(s)s at "%", found "{text[text.index("%") :][:30]}"')
    if "\n" in text or "\r" in text:
        raise ValueError("format: a line break inside; each request must be one line")
    return text


def _unquoted(value: bytes) -> bytes:
    return value.replace(b'\\"', b'"')
