"""Access lines of any server whose format is known: rows of values, counted by method, route and status.

The server's module says which variable plays which role; what a role means is said here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from msgspec import Struct

from parsers.batch import UNKNOWN, Batch, Request
from parsers.format import Format
from parsers.http import failure_of, method_of, status_code_of
from parsers.numbers import SECOND, nanoseconds, token_count
from parsers.request_line import method_and_route
from parsers.routes import INVALID, Routes
from parsers.times import common_log, iso
from parsers.window import whole_lines

#: What a value is good for. `time` roles in the order of preference.
REQUEST, METHOD, TARGET, PATH, STATUS, BYTES = "request", "method", "target", "path", "status", "bytes"
DURATION, FIRST_BYTE = "duration", "first_byte"
TIME_EPOCH, TIME_ISO, TIME_COMMON = "time_epoch", "time_iso", "time_common"

_NUMBER = re.compile(rb"[0-9]{1,15}(?:\.[0-9]{1,9})?")

Row = Sequence[bytes]


class Roles(Struct, frozen=True):
    """Which column of a row plays which role; `unit` is that of the duration, in nanoseconds."""

    columns: Mapping[str, int]
    unit: int = SECOND


class Access(Struct, frozen=True):
    """Reads access lines of one format. `unescape` undoes the server's escaping of a request line."""

    format: Format
    roles: Roles
    routes: Routes
    local: tzinfo
    unescape: Callable[[bytes], bytes]

    def parse(self, window: bytes, final: bool, strays: Callable[[bytes], str | None]) -> Batch:
        """`strays` judges a line that does not fit: None is ignored, else the reason why it is unparsed."""
        consumed, lines = whole_lines(window, final)
        block = window[:consumed]
        rows = self.format.pattern.findall(block)
        if len(self.format.captured) == 1:
            rows = [(value,) for value in rows]
        ignored, unparsed, examples = 0, dict[str, int](), dict[str, bytes]()
        if len(rows) != lines:
            for line in self._strays(block, lines):
                reason = strays(line) if line else None
                if reason is None:
                    ignored += 1
                else:
                    unparsed[reason] = unparsed.get(reason, 0) + 1
                    examples.setdefault(reason, line[:200])
        return Batch(consumed, lines, ignored, unparsed, examples, self._newest(rows), self._requests(rows))

    def _strays(self, block: bytes, lines: int) -> list[bytes]:
        fits = self.format.pattern.match
        return [line.removesuffix(b"\r") for line in block.split(b"\n", lines)[:lines] if not fits(line)]

    def _requests(self, rows: Sequence[Row]) -> tuple[Request, ...]:
        """One record for all rows of a method, route and status."""
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            groups.setdefault(self._labels(row), []).append(row)
        return tuple(
            Request(
                method,
                route,
                status,
                failure_of(status),
                len(group),
                self._bytes(group),
                self._times(group, DURATION, self.roles.unit),
                self._times(group, FIRST_BYTE, SECOND),
            )
            for (method, route, status), group in groups.items()
        )

    def _labels(self, row: Row) -> tuple[str, str, str]:
        columns = self.roles.columns
        status = status_code_of(row[columns[STATUS]]) if STATUS in columns else UNKNOWN
        if REQUEST in columns:
            return (*method_and_route(self.unescape(row[columns[REQUEST]]), self.routes), status)
        method = method_of(row[columns[METHOD]]) if METHOD in columns else UNKNOWN
        return method, self._route(row), status

    def _route(self, row: Row) -> str:
        """By target or path, which a server leaves empty where it could not read the request line."""
        columns = self.roles.columns
        column = columns.get(TARGET, columns.get(PATH))
        if column is None:
            return UNKNOWN
        value = self.unescape(row[column])
        if value in (b"", b"-"):
            return INVALID
        return self.routes.of_target(value) if TARGET in columns else self.routes.of_path(value)

    def _bytes(self, group: Sequence[Row]) -> int | None:
        column = self.roles.columns.get(BYTES)
        if column is None:
            return None
        sizes = [token_count(int(row[column])) for row in group if row[column][:18].isdigit() and len(row[column]) < 19]
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None

    def _times(self, group: Sequence[Row], role: str, unit: int) -> tuple[int, ...]:
        column = self.roles.columns.get(role)
        if column is None:
            return ()
        times = (_last_number(row[column], unit) for row in group)
        return tuple(time for time in times if time is not None)

    def _newest(self, rows: Sequence[Row]) -> int | None:
        """The newest event time; a block holds few distinct seconds, so each text is read once."""
        for role, read in _TIMES.items():
            if role in self.roles.columns:
                column = self.roles.columns[role]
                times = (read(text, self.local) for text in {row[column] for row in rows})
                return max((time for time in times if time is not None), default=None)
        return None


def _last_number(text: bytes, unit: int) -> int | None:
    """A time, or of a list (`-, 0.003`, ` : `) the last one: of the server that answered."""
    if not _NUMBER.fullmatch(text):
        numbers = [part for part in re.split(rb"[ ,:]+", text) if _NUMBER.fullmatch(part)]
        if not numbers:
            return None
        text = numbers[-1]
    return nanoseconds(text, unit)


def _epoch_seconds(text: bytes, _: tzinfo) -> int | None:
    """nginx' $msec: `1763887459.123`."""
    return round(float(text) * 1000) * 1_000_000 if re.fullmatch(rb"[0-9]{1,11}(?:\.[0-9]{1,3})?", text) else None


def _common(text: bytes, _: tzinfo) -> int | None:
    return common_log(text.strip(b"[]"))


_TIMES: Mapping[str, Callable[[bytes, tzinfo], int | None]] = {
    TIME_EPOCH: _epoch_seconds,
    TIME_ISO: iso,
    TIME_COMMON: _common,
}
