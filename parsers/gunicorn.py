"""gunicorn's access log by its own access_log_format (gunicorn/glogging.py), with its own lines in between."""

import re
from functools import cached_property
from typing import Any, ClassVar

from parsers.access import rows as access
from parsers.access.format import Extent, Piece, Variable, compiled
from parsers.access.request_line import REGULAR
from parsers.access.routes import table
from parsers.access.rows import Access, Roles
from parsers.batch import Batch, Failure
from parsers.dropped import with_dropped_time
from parsers.lines import Outcome
from parsers.parser import Parser
from parsers.values.http import FAILURES
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND
from parsers.values.times import iso, zone

DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
#: What we advise.
TIMED = DEFAULT + " %(L)s"

_ATOM = re.compile(r"%\(([^()]+)\)[sd]|%(%)")
_ROLES = {
    "r": access.REQUEST,
    "m": access.METHOD,
    "U": access.PATH,
    "s": access.STATUS,
    "B": access.BYTES,
    "b": access.BYTES,
    "L": access.DURATION,
    "D": access.DURATION,
    "M": access.DURATION,
    "T": access.DURATION,
    "t": access.TIME_COMMON,
}
_UNITS = {"L": SECOND, "D": MICROSECOND, "M": MILLISECOND, "T": SECOND}

#: %(t)s brings its brackets along; %(L)s always has decimals, which tells it from the other times.
_SHAPES = {
    "t": rb"\[[0-9]{2}/[^\] \n]{1,30}+ [+-][0-9]{4}\]",
    "L": rb"(?:[0-9]++\.[0-9]++|-?)",
    **dict.fromkeys("sbBDMT", rb"(?:[0-9]++|-?)"),
}
#: The user's name is decoded, and so is the path; a header may be a list.
_EXTENTS = {"u": Extent.FIRST, "r": Extent.LAST, "U": Extent.LAST, "{x-forwarded-for}i": Extent.CLIENTS}

#: `[2026-11-23 08:53:05 +0000] [11056] [INFO] Booting worker with pid: 11058`; a log shipper may cut the time off.
OWN_LINE = re.compile(rb"(?:\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] )?\[\d+\] \[([A-Z]+)\] (.*)", re.DOTALL)
#: No form begins with them: the lines of tracebacks and bodies do.
INDENTS = b" \t"
_TRACEBACK = re.compile(
    rb"\s|Traceback \(most recent call last\):|During handling of the above |The above exception was "
    rb"|[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b"
)
#: The application's own records on the same standard output: the dify parser reads those.
_APPLICATION = re.compile(
    rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d{1,3}(?:\.\d{3})? [A-Z]+ +\[|\{"ts": ?"'
    rb"|[0-9A-Za-z][0-9A-Za-z:/.,+ _-]{0,47}?[.,]\d{1,3}(?:\.\d{3})? [A-Z]+ +\["  # another LOG_DATEFORMAT
)

#: What another record has told already.
_AGAIN = re.compile(rb"Worker \(pid:\d+\) (?:was sent SIG|exited)|Shutting down: |Reason: ")

_NO_DURATION = (
    "this gunicorn format carries no duration: latency metrics stay empty; "
    "add %(L)s to --access-logformat in GUNICORN_CMD_ARGS"
)
_DECODED = (
    "this gunicorn format writes the decoded path: a client can break a line in two and forge the second; "
    "take %(r)s in place of %(U)s"
)
_USER = (
    "this gunicorn format writes the decoded user name: a client can break a line in two and forge the second; "
    "take - in place of %(u)s"
)


class Gunicorn(Parser, frozen=True):
    """`format` is gunicorn's access_log_format, with the %(L)s, %(M)s or %(D)s that its default lacks."""

    format: str = DEFAULT
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    services: ClassVar[tuple[str, ...]] = ("api", "api_websocket")

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"format": TIMED})

    def __post_init__(self) -> None:
        _ = self._access

    @cached_property
    def _access(self) -> Access:
        format = compiled(_pieces(self.format), frozenset(_ROLES), "gunicorn")
        columns = access.columns_of(format, _ROLES)
        unit = next((unit for atom, unit in _UNITS.items() if atom in format.captured), SECOND)
        if not columns.keys() & {access.STATUS, access.REQUEST, access.PATH}:
            raise ValueError("format: expected %(s)s or %(r)s among its atoms")
        return Access(format, Roles(columns, unit), table(self.routes), zone(self.timezone), _unquoted)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return self._access.parse(window, final, self._own)

    def _own(self, line: bytes) -> Outcome:
        if line[0] in INDENTS:
            return "format" if b"\0" in line else None
        if match := OWN_LINE.fullmatch(line):
            at = iso(match[1] or b"", self._access.local)
            failures = own_failures(match[2], match[3])
            return (with_dropped_time(failures, match[1], at), at) if failures else None
        if _TRACEBACK.match(line):
            return "format" if b"\0" in line else None
        return None if _APPLICATION.match(line) else "format"

    def matched_length(self, line: bytes) -> int:
        return self._access.format.matched_length(line)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return KINDS

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return FAILURES if access.STATUS in self._access.roles.columns else frozenset()

    def advice(self, sample: Batch) -> tuple[str, ...]:
        columns = self._access.roles.columns
        decoded = access.PATH in columns and access.REQUEST not in columns
        user = any(isinstance(piece, Variable) and piece.name == "u" for piece in self._access.format.pieces)
        told = {_NO_DURATION: access.DURATION not in columns, _DECODED: decoded, _USER: user}
        return tuple(sentence for sentence, holds in told.items() if holds)


#: What `own_failures` may give.
KINDS = frozenset({"worker_timeout", "unhandled_exception", "other"})


def own_failures(level: bytes, message: bytes) -> list[Failure]:
    """What gunicorn's own line (gunicorn/arbiter.py) says went wrong.

    A worker's time-out is told again when it is killed, and a failed start when the master ends: the later records
    are no other failures.
    """
    if level == b"CRITICAL" and message.startswith(b"WORKER TIMEOUT"):
        return [Failure("worker_timeout")]
    if level not in (b"ERROR", b"CRITICAL") or _AGAIN.match(message):
        return []
    return [Failure("unhandled_exception" if message.startswith(b"Error handling request") else "other")]


def _pieces(format: str) -> list[Piece]:
    """Atoms and the text between them, in which Python's % operator writes %% for a percent sign."""
    pieces: list[Piece] = []
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
        raise ValueError(f'format: "%" begins no atom such as %(s)s in "{text[text.index("%") :][:30]}"')
    if "\n" in text or "\r" in text:
        raise ValueError("format: a line break inside; each request must be one line")
    return text


def _unquoted(value: bytes) -> bytes:
    return value.replace(b'\\"', b'"')
