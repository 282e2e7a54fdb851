"""gunicorn's access log by its own access_log_format (gunicorn/glogging.py), with its own lines in between."""

import re
from functools import cached_property

from msgspec import structs

from parsers import access
from parsers.access import Access, Roles
from parsers.batch import Batch, Failure
from parsers.format import Piece, Variable, compiled
from parsers.numbers import MICROSECOND, MILLISECOND, SECOND
from parsers.parser import Parser
from parsers.routes import table
from parsers.times import iso, zone

DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

_ATOM = re.compile(r"%\(((?:\{[^}]+\}[ioe])|\w)\)s")
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

#: %(t)s brings its brackets along; %(U)s is the decoded path, blanks and all.
_BRACKETED = rb"\[[^\]\n]{0,40}+\]"

#: `[2026-11-23 08:53:05 +0000] [11056] [INFO] Booting worker with pid: 11058`
OWN_LINE = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[\d+\] \[(\w+)\] (.*)", re.DOTALL)
_TRACEBACK = re.compile(rb"\s|Traceback \(most recent call last\):|[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b")


_NO_DURATION = (
    "this gunicorn format carries no duration: latency metrics stay empty; "
    "add %(L)s to --access-logformat in GUNICORN_CMD_ARGS"
)


class Gunicorn(Parser, frozen=True):
    """`format` is gunicorn's access_log_format, with the %(L)s, %(M)s or %(D)s that its default lacks."""

    format: str = DEFAULT
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self._access

    @cached_property
    def _access(self) -> Access:
        if not _ATOM.search(self.format):
            raise ValueError(f'format: no atom such as %(s)s in "{self.format[:60]}"')
        format = compiled(_pieces(self.format), frozenset(_ROLES), escaped_quotes=True)
        columns: dict[str, int] = {}
        unit = SECOND
        for atom, role in _ROLES.items():
            if atom in format.captured and role not in columns:
                columns[role] = format.captured.index(atom)
                unit = _UNITS.get(atom, unit)
        if access.STATUS not in columns and access.REQUEST not in columns and access.PATH not in columns:
            raise ValueError("format: expected %(s)s or %(r)s among its atoms")
        return Access(format, Roles(columns, unit), table(self.routes), zone(self.timezone), _unquoted)

    def parse(self, window: bytes, final: bool = False) -> Batch:
        failures: list[Failure] = []
        times: list[int] = []

        def stray(line: bytes) -> str | None:
            if match := OWN_LINE.fullmatch(line):
                failures.extend(own_failures(match[2], match[3]))
                if (at := iso(match[1], self._access.local)) is not None:
                    times.append(at)
                return None
            return None if _TRACEBACK.match(line) else "format"

        batch = self._access.parse(window, final, stray)
        return structs.replace(
            batch,
            ignored=batch.ignored - len(failures),
            last_at=max((at for at in (*times, batch.last_at) if at is not None), default=None),
            records=(*batch.records, *failures),
        )

    def reach(self, line: bytes) -> int:
        return self._access.format.reach(line)

    def advice(self) -> tuple[str, ...]:
        if access.DURATION in self._access.roles.columns:
            return ()
        return (_NO_DURATION,)


def own_failures(level: bytes, message: bytes) -> list[Failure]:
    """What gunicorn's own line (gunicorn/arbiter.py) says went wrong.

    A worker's time-out is told again when it is killed; the second record is not another failure.
    """
    if level == b"CRITICAL" and message.startswith(b"WORKER TIMEOUT"):
        return [Failure("worker_timeout")]
    if level not in (b"ERROR", b"CRITICAL") or re.match(rb"Worker \(pid:\d+\) (?:was sent SIG|exited)", message):
        return []
    return [Failure("unhandled_exception" if message.startswith(b"Error handling request") else "other")]


def _pieces(format: str) -> list[Piece]:
    pieces: list[Piece] = []
    end = 0
    for match in _ATOM.finditer(format):
        if match.start() > end:
            pieces.append(format[end : match.start()].encode())
        shape = _BRACKETED if match[1] == "t" else b""
        pieces.append(Variable(match[1], spaced=match[1] in ("U", "u"), shape=shape))
        end = match.end()
    if end < len(format):
        pieces.append(format[end:].encode())
    return pieces


def _unquoted(value: bytes) -> bytes:
    return value.replace(b'\\"', b'"')
