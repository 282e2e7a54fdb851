"""Access lines of any server whose format is known: rows of values, counted by method, route and status.

The server's module says which variable plays which role; what a role means is said here. The rows of a window are
grouped by the shape of their path before a route is looked up, so that a fresh id costs nothing.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import repeat
from operator import itemgetter
from typing import Annotated, cast

import msgspec
from msgspec import Struct, structs

from parsers.access.format import REGULAR, Format
from parsers.access.plan import Plan, plan_of
from parsers.access.request_line import method_and_route
from parsers.access.routes import INVALID, Routes
from parsers.access.shapes import SHAPE, alike
from parsers.batch import UNKNOWN, Batch, DroppedValue, Record, Request
from parsers.dropped import dropped_values
from parsers.lines import Outcome, by_line, whole_lines
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import MILLISECOND, SECOND, many_nanoseconds, nanoseconds, token_count
from parsers.values.times import common_log, epoch_seconds, iso

#: What a value is good for. `time` roles in the order of preference.
REQUEST, METHOD, TARGET, PATH, STATUS, BYTES = "request", "method", "target", "path", "status", "bytes"
DURATION, FIRST_BYTE, HANDLER = "duration", "first_byte", "handler"
TIME_EPOCH, TIME_ISO, TIME_COMMON = "time_epoch", "time_iso", "time_common"

#: Numbers that need no other look, parted by commas.
_DECIMALS = re.compile(rb"[0-9]{1,6}\.[0-9]{1,9}(?:,[0-9]{1,6}\.[0-9]{1,9})*")
_NUMBER = re.compile(rb"[0-9]{1,15}(?:\.[0-9]{1,9})?")
#: A list in which no value is known: `-`, `-, -`, `- : -`.
_NO_NUMBERS = re.compile(rb"[-,: ]*")

#: Bytes from which columns pay. Live windows are smaller, so that only a replay loads numpy.
_LARGE = 1 << 19

#: Texts whose shape may decide a route; a whole request line holds more than that.
_PATHS = (REQUEST + REGULAR, TARGET, PATH)

#: The field of a dropped value, by role.
_FIELDS = {DURATION: "duration", FIRST_BYTE: "first_byte", HANDLER: "duration"}

_decode_sizes = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=10**12)]]).decode

Row = Sequence[bytes]
Labels = tuple[str, str, str]


class Roles(Struct, frozen=True):
    """Which column of a row plays which role; `unit` is that of duration and handler, in nanoseconds. `decimals` says
    that the format's pattern takes no other time than a plain decimal.
    """

    columns: Mapping[str, int]
    unit: int = SECOND
    decimals: bool = False


def columns_of(format: Format, roles: Mapping[str, str]) -> dict[str, int]:
    """The column of each role among the captured variables; of several for one role the earlier in `roles` wins."""
    columns: dict[str, int] = {}
    for variable, role in roles.items():
        for suffix in ("", REGULAR):
            if variable + suffix in format.captured:
                columns.setdefault(role + suffix, format.captured.index(variable + suffix))
    return columns


class Access(Struct, frozen=True, dict=True):
    """Reads access lines of one format. `unescape` undoes the server's escaping of a request line."""

    format: Format
    roles: Roles
    routes: Routes
    local: tzinfo
    unescape: Callable[[bytes], bytes]

    def __post_init__(self) -> None:
        _ = self._plan, self._time_role

    @cached_property
    def _variables(self) -> dict[str, str]:
        """The variable of each role."""
        return {role: self.format.captured[column] for role, column in self.roles.columns.items()}

    @cached_property
    def _plan(self) -> Plan | None:
        """How numpy reads large blocks; None where the format holds what it cannot."""
        plan, variables = plan_of(self.format.pieces, self.format.quoting), self._variables
        roles = (REQUEST, STATUS, BYTES, DURATION, FIRST_BYTE, TIME_COMMON)
        if plan is None or not {REQUEST, STATUS} <= variables.keys() <= {*roles, REQUEST + REGULAR}:
            return None
        fits = all(plan.reads(variables[role]) for role in roles if role in variables)
        return plan if fits and self.roles.unit == SECOND else None

    def parse(self, window: bytes, final: bool, strays: Callable[[bytes], Outcome]) -> Batch:
        """`strays` reads a line that does not fit: the server's other lines in the same stream."""
        consumed, lines = whole_lines(window, final)
        block = window[:consumed]
        if consumed < _LARGE or self._plan is None or not _has_numpy():
            return self._rows(block, lines, strays)
        from parsers.access import columns, tally

        regular = columns.read(self._plan, block)
        times = [self._moment(text) for text in regular.times]
        if None in times:  # columns do not tell how many lines have it
            return self._rows(block, lines, strays)
        rest = self._rows(regular.odd, lines - len(regular.heads), strays)
        newest = [at for at in (rest.last_at, *times) if at is not None]
        records = (*tally.requests(regular, self._variables, self.routes), *rest.records)
        return structs.replace(rest, consumed=consumed, lines=lines, last_at=max(newest, default=None), records=records)

    def _rows(self, block: bytes, lines: int, strays: Callable[[bytes], Outcome]) -> Batch:
        rows = self.format.every.findall(block)
        odd = [row[-1] for row in rows if row[-1]]
        if odd:
            rows = [row for row in rows if not row[-1]]
        others = by_line(b"\n".join(odd), True, self._behind_nuls(strays) if b"\0" in block else strays)
        newest, unread = self._times(rows)
        return structs.replace(
            others,
            consumed=len(block),
            lines=lines,
            ignored=others.ignored + lines - len(rows) - len(odd),
            last_at=max((at for at in (newest, others.last_at) if at is not None), default=None),
            records=(*self.requests(self.groups(rows)), *unread, *others.records),
        )

    def _behind_nuls(self, strays: Callable[[bytes], Outcome]) -> Callable[[bytes], Outcome]:
        """Reads what `by_line` finds behind NULs: an access line, else one of the server's other lines."""

        def read(line: bytes) -> Outcome:
            rows = [row for row in self.format.every.findall(line) if not row[-1]]
            newest, unread = self._times(rows)
            return ((*self.requests(self.groups(rows)), *unread), newest) if rows else strays(line)

        return read

    def groups(self, rows: Sequence[Row]) -> dict[Labels, list[Row]]:
        """The rows of each method, route and status."""
        groups: dict[Labels, list[Row]] = {}
        for group in self._of_one_shape(rows):
            for some in self._of_one_route(group):
                groups.setdefault(self._labels(some[0]), []).extend(some)
        return groups

    def requests(self, groups: Mapping[Labels, Sequence[Row]]) -> tuple[Record, ...]:
        """One record for all rows of a method, route and status, and one for the values of a field that these rows hold
        and that are not understood.
        """
        unread: list[DroppedValue] = []
        requests = [
            Request(
                method,
                route,
                status,
                failure_of(status),
                len(group),
                self._bytes(group, unread),
                self._durations(group, DURATION, self.roles.unit, unread),
                self._durations(group, FIRST_BYTE, SECOND, unread),
                self._durations(group, HANDLER, self.roles.unit, unread),
            )
            for (method, route, status), group in groups.items()
        ]
        return (*requests, *unread)

    def _of_one_shape(self, rows: Sequence[Row]) -> Iterable[list[Row]]:
        """The rows by the shape of their path, their method and status: the loop that every line goes through."""
        paths, methods, statuses = (_column(rows, self._first(*roles)) for roles in (_PATHS, (METHOD,), (STATUS,)))
        groups: defaultdict[Row, list[Row]] = defaultdict(list)
        for key, row in zip(
            zip(map(bytes.translate, paths, repeat(SHAPE)), methods, statuses, strict=False), rows, strict=False
        ):
            groups[key].append(row)
        return groups.values()

    def _of_one_route(self, group: list[Row]) -> Iterable[list[Row]]:
        """Rows of one shape, by route: all of them, or where the shape does not decide, those of equal texts."""
        path = self._first(*_PATHS)
        if len(group) == 1 or (path is not None and alike([row[path] for row in group], self.routes.reads)):
            return (group,)
        columns = [self.roles.columns[role] for role in (*_PATHS, REQUEST) if role in self.roles.columns]
        groups: defaultdict[Row, list[Row]] = defaultdict(list)
        for row in group:
            groups[tuple(row[column] for column in columns)].append(row)
        return groups.values()

    def _first(self, *roles: str) -> int | None:
        """The column of the first of these roles that the format knows."""
        return next((self.roles.columns[role] for role in roles if role in self.roles.columns), None)

    def _labels(self, row: Row) -> Labels:
        columns = self.roles.columns
        status = status_code_of(row[columns[STATUS]]) if STATUS in columns else UNKNOWN
        if REQUEST + REGULAR in columns and (head := row[columns[REQUEST + REGULAR]]):
            text, _, target = head.partition(b" ")
            return method_of(text), self.routes.of_target(target), status
        if REQUEST in columns:
            return (*method_and_route(self.unescape(row[columns[REQUEST]]), self.routes), status)
        method = method_of(row[columns[METHOD]]) if METHOD in columns else UNKNOWN
        return method, self._route(row), status

    def _route(self, row: Row) -> str:
        """By target or path, which a server leaves empty where it could not read the request line."""
        columns = self.roles.columns
        column = self._first(TARGET, PATH)
        if column is None:
            return UNKNOWN
        value = self.unescape(row[column])
        if value in (b"", b"-"):
            return INVALID
        return self.routes.of_target(value) if TARGET in columns else self.routes.of_path(value)

    def _bytes(self, group: Sequence[Row], unread: list[DroppedValue]) -> int | None:
        """The sum of the known sizes; what is none is added to `unread`."""
        column = self.roles.columns.get(BYTES)
        if column is None:
            return None
        texts = [row[column] for row in group]
        try:
            known = _decode_sizes(b"[%b]" % b",".join(texts)) if b"".join(texts).isdigit() else None
        except msgspec.DecodeError:  # an empty one among them, a leading zero, more than a file can hold
            known = None
        if known is None:
            sizes = [token_count(int(text)) if text.isdigit() and len(text) < 19 else None for text in texts]
            unread += dropped_values("bytes", [text for text, size in zip(texts, sizes, strict=True) if size is None])
            known = [size for size in sizes if size is not None]
        return sum(known) if known else None

    def _durations(self, group: Sequence[Row], role: str, unit: int, unread: list[DroppedValue]) -> tuple[int, ...]:
        """The known durations of a role in nanoseconds; what is none is added to `unread`."""
        column = self.roles.columns.get(role)
        if column is None:
            return ()
        texts = [row[column] for row in group]
        if self.roles.decimals:
            return tuple(many_nanoseconds(texts, unit))
        looked_up = list(map(_seconds().get, texts)) if unit == SECOND else [None] * len(texts)
        if None not in looked_up:
            return tuple(cast(list[int], looked_up))
        if _DECIMALS.fullmatch(b",".join(texts)):
            return tuple(many_nanoseconds(texts, unit))
        times = [
            _last_number(text, unit) if time is None else time for text, time in zip(texts, looked_up, strict=True)
        ]
        if times.count(None) > texts.count(b"-"):
            odd = [text for text, time in zip(texts, times, strict=True) if time is None]
            unread += dropped_values(_FIELDS[role], [text for text in odd if not _NO_NUMBERS.fullmatch(text)])
        return tuple(time for time in times if time is not None)

    @cached_property
    def _time_role(self) -> str | None:
        return next((role for role in _TIMES if role in self.roles.columns), None)

    def _moment(self, text: bytes) -> int | None:
        """An event time in nanoseconds since the epoch."""
        return None if self._time_role is None else _TIMES[self._time_role](text, self.local)

    def _times(self, rows: Sequence[Row]) -> tuple[int | None, tuple[DroppedValue, ...]]:
        """The newest event time, and those that are none; a block holds few distinct ones, and each is read once."""
        if self._time_role is None:
            return None, ()
        column = self.roles.columns[self._time_role]
        moments = {text: self._moment(text) for text in {row[column] for row in rows}}
        newest = max((at for at in moments.values() if at is not None), default=None)
        if None not in moments.values():
            return newest, ()
        return newest, dropped_values("time", [row[column] for row in rows if moments[row[column]] is None])


@cache
def _seconds() -> dict[bytes, int]:
    """Most times are milliseconds below ten seconds: looked up they cost a tenth of a conversion."""
    return {b"%d.%03d" % divmod(time, 1000): time * MILLISECOND for time in range(10_000)}


@cache
def _has_numpy() -> bool:
    return find_spec("numpy") is not None


def _last_number(text: bytes, unit: int) -> int | None:
    """A time, or of a list (`-, 0.003`, ` : `) the last one: of the server that answered."""
    if not _NUMBER.fullmatch(text):
        numbers = [part for part in re.split(rb"[ ,:]+", text) if _NUMBER.fullmatch(part)]
        if not numbers:
            return None
        text = numbers[-1]
    return nanoseconds(text, unit)


def _column(rows: Sequence[Row], column: int | None) -> Iterable[bytes]:
    return repeat(b"") if column is None else map(itemgetter(column), rows)


def _common(text: bytes, _: tzinfo) -> int | None:
    return common_log(text.strip(b"[]"))


_TIMES: Mapping[str, Callable[[bytes, tzinfo], int | None]] = {
    TIME_EPOCH: epoch_seconds,
    TIME_ISO: iso,
    TIME_COMMON: _common,
}
