"""Parse the access log of any server whose format is known: rows of values, counted by method, route and status.

The module of the server says which variable has which role; this module knows what to do with each role. The rows of a
window are grouped by the shape of their path before a route is looked up, so that a path with a new id costs nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from functools import cached_property
from itertools import repeat
from operator import itemgetter

from msgspec import Struct, structs

from parsers.access.format import REGULAR, Format
from parsers.access.plan import ColumnPlan, plan_of
from parsers.access.request_line import Labels, method_and_route
from parsers.access.roles import (
    BYTES,
    DURATION,
    FIRST_BYTE,
    HANDLER,
    METHOD,
    PATH,
    REQUEST,
    STATUS,
    TARGET,
    TIME_COMMON,
    TIME_EPOCH,
    TIME_ISO,
    Roles,
)
from parsers.access.routes import INVALID, Routes
from parsers.access.row_numbers import durations_of, sum_of_sizes
from parsers.access.shapes import SHAPE, share_route
from parsers.batch import UNKNOWN, Batch, DroppedValue, Record, Request
from parsers.dropped import dropped_values
from parsers.frame import FrameOf
from parsers.lines import Outcome, by_line, together, whole_lines, without_empty_lines
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import SECOND, many_nanoseconds
from parsers.values.times import common_log, epoch_seconds, iso, newest_known, oldest_known

#: A window of so many bytes is read by columns. Live windows are smaller, so only a backlog or a replay loads numpy.
_LARGE = 1 << 19

#: The roles whose text has a shape that may decide the route. A whole request line holds more than a path.
_PATHS = (REQUEST + REGULAR, TARGET, PATH)

#: The field of a DroppedValue, by role.
_FIELDS = {DURATION: "duration", FIRST_BYTE: "first_byte", HANDLER: "duration"}

#: The captured values of a line, in the order of `Format.captured`.
Row = Sequence[bytes]


class AccessReader(Struct, frozen=True, dict=True):
    """Reads the access lines of one format.

    `local` is the zone of times without one. `unescape` undoes the server's escaping of a request line or path.
    """

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
    def _plan(self) -> ColumnPlan | None:
        """How numpy reads large blocks; None if it cannot read this format."""
        plan, variables = plan_of(self.format.pieces, self.format.quoting), self._variables
        roles = (REQUEST, STATUS, BYTES, DURATION, FIRST_BYTE, TIME_COMMON)
        if plan is None or not {REQUEST, STATUS} <= variables.keys() <= {*roles, REQUEST + REGULAR}:
            return None
        is_complete = all(plan.reads(variables[role]) for role in roles if role in variables)
        return plan if is_complete and self.roles.unit == SECOND else None

    def prepare(self) -> None:
        """Load numpy if this format is read by columns."""
        if self._plan is not None:
            from parsers.access import json_columns, tally  # noqa: F401

    def parse(self, window: bytes, final: bool, read_other: Callable[[bytes], Outcome]) -> Batch:
        """Parse the whole lines of a window.

        `read_other` reads a line of another format: the server's other lines in the same stream.
        """
        consumed = len(window) if final else window.rfind(b"\n") + 1
        regular, others = self.parse_columns(window, consumed)
        return together(regular, self._parse_rows(others, read_other))

    def parse_columns(
        self, window: bytes, size: int, frame_of: FrameOf | None = None, *, in_json: bool = False
    ) -> tuple[Batch, bytes]:
        """Parse regular lines by columns, if the first `size` bytes of a window, whole lines, are many.

        Return their batch, and all other lines. `frame_of` and `in_json` say how an envelope stores the lines
        (`Parser.parse_stored`).
        """
        if size < _LARGE or self._plan is None:
            return Batch(), window[:size]
        from parsers.access import columns, json_columns, tally

        reader = json_columns.JsonColumnReader if in_json else columns.ColumnReader
        parts = list(columns.read(self._plan, window, size, self.routes.compares, reader, frame_of))
        times = [self._parse_time(text) for part in parts for text in part.times]
        if None in times:  # the columns do not know how many lines have this time
            return Batch(), window[:size]
        others = b"".join([part.other_lines for part in parts])
        empty = sum(part.empty_lines for part in parts)
        batch = Batch(
            consumed=size - len(others),
            lines=empty + sum(len(part.head_of) for part in parts),
            ignored=empty,
            last_at=newest_known(times),
            first_at=oldest_known(times),
            records=tally.requests(parts, self._variables, self.routes),
        )
        return batch, others

    def _parse_rows(self, window: bytes, read_other: Callable[[bytes], Outcome]) -> Batch:
        """Parse whole lines. The last value of a row is the line itself if it does not match."""
        consumed, lines = whole_lines(window, True)
        block = without_empty_lines(window, lines)
        rows = self.format.every.findall(block)
        unmatched = [row[-1] for row in rows if row[-1]]
        if unmatched:
            rows = [row for row in rows if not row[-1]]
        others = by_line(b"\n".join(unmatched), True, self._behind_nuls(read_other) if b"\0" in block else read_other)
        times, dropped = self._times(rows)
        return structs.replace(
            others,
            consumed=consumed,
            lines=lines,
            ignored=others.ignored + lines - len(rows) - len(unmatched),
            last_at=newest_known((others.last_at, *times)),
            first_at=oldest_known((others.first_at, *times)),
            records=(*self.requests(self.groups(rows)), *dropped, *others.records),
        )

    def _behind_nuls(self, read_other: Callable[[bytes], Outcome]) -> Callable[[bytes], Outcome]:
        """Return a function that reads the text which `by_line` finds behind NULs: an access line or another one."""

        def read(line: bytes) -> Outcome:
            rows = [row for row in self.format.every.findall(line) if not row[-1]]
            times, dropped = self._times(rows)
            records = (*self.requests(self.groups(rows)), *dropped)
            return (records, newest_known(times)) if rows else read_other(line)

        return read

    def groups(self, rows: Sequence[Row]) -> dict[Labels, list[Row]]:
        """Group rows by method, route and status code."""
        groups: dict[Labels, list[Row]] = {}
        for group in self._by_shape(rows):
            for members in self._by_route(group):
                groups.setdefault(self._labels(members[0]), []).extend(members)
        return groups

    def requests(self, groups: Mapping[Labels, Sequence[Row]]) -> tuple[Record, ...]:
        """Return one request record per group, and one record per group and field for the values not understood."""
        dropped: list[DroppedValue] = []
        requests = [
            Request(
                method,
                route,
                status,
                failure_of(status),
                len(group),
                self._bytes(group, dropped),
                self._durations(group, DURATION, self.roles.unit, dropped),
                self._durations(group, FIRST_BYTE, SECOND, dropped),
                self._durations(group, HANDLER, self.roles.unit, dropped),
            )
            for (method, route, status), group in groups.items()
        ]
        return (*requests, *dropped)

    def _by_shape(self, rows: Sequence[Row]) -> Iterable[list[Row]]:
        """Group rows by the shape of their path, their method and status. This loop runs for every line."""
        paths = _column(rows, self._first_column(*_PATHS))
        others = [
            map(itemgetter(self.roles.columns[role]), rows) for role in (METHOD, STATUS) if role in self.roles.columns
        ]
        groups: defaultdict[Row, list[Row]] = defaultdict(list)
        for key, row in zip(zip(map(bytes.translate, paths, repeat(SHAPE)), *others, strict=False), rows, strict=False):
            groups[key].append(row)
        return groups.values()

    def _by_route(self, group: list[Row]) -> Iterable[list[Row]]:
        """Split rows of one shape into groups of one route: all rows, or the rows of each text if they differ."""
        path = self._first_column(*_PATHS)
        if len(group) == 1 or (path is not None and share_route([row[path] for row in group], self.routes.compares)):
            return (group,)
        columns = [self.roles.columns[role] for role in (*_PATHS, REQUEST) if role in self.roles.columns]
        groups: defaultdict[Row, list[Row]] = defaultdict(list)
        for row in group:
            groups[tuple(row[column] for column in columns)].append(row)
        return groups.values()

    def _first_column(self, *roles: str) -> int | None:
        """Return the column of the first of these roles that the format has."""
        return next((self.roles.columns[role] for role in roles if role in self.roles.columns), None)

    def _labels(self, row: Row) -> Labels:
        columns = self.roles.columns
        status = status_code_of(row[columns[STATUS]]) if STATUS in columns else UNKNOWN
        if REQUEST + REGULAR in columns and (head := row[columns[REQUEST + REGULAR]]):
            method, _, target = head.partition(b" ")
            return method_of(method), self.routes.of_target(target), status
        if REQUEST in columns:
            return (*method_and_route(self.unescape(row[columns[REQUEST]]), self.routes), status)
        label = method_of(row[columns[METHOD]]) if METHOD in columns else UNKNOWN
        return label, self._route(row), status

    def _route(self, row: Row) -> str:
        """Return the route of the target or path. A server leaves both empty if it could not parse the request."""
        columns = self.roles.columns
        column = self._first_column(TARGET, PATH)
        if column is None:
            return UNKNOWN
        value = self.unescape(row[column])
        if value in (b"", b"-"):
            return INVALID
        return self.routes.of_target(value) if TARGET in columns else self.routes.of_path(value)

    def _bytes(self, group: Sequence[Row], dropped: list[DroppedValue]) -> int | None:
        """Return the sum of the known sizes; add what is not a size to `dropped`."""
        column = self.roles.columns.get(BYTES)
        if column is None:
            return None
        total, unknown = sum_of_sizes([row[column] for row in group])
        dropped += dropped_values("bytes", unknown)
        return total

    def _durations(self, group: Sequence[Row], role: str, unit: int, dropped: list[DroppedValue]) -> tuple[int, ...]:
        """Return the known durations of a role in nanoseconds; add what is not a duration to `dropped`."""
        column = self.roles.columns.get(role)
        if column is None:
            return ()
        texts = list(map(itemgetter(column), group))
        if self.roles.decimals:
            return tuple(many_nanoseconds(texts, unit))
        durations, unknown = durations_of(texts, unit)
        if unknown:
            dropped += dropped_values(_FIELDS[role], unknown)
        return durations

    @cached_property
    def _time_role(self) -> str | None:
        return next((role for role in _TIMES if role in self.roles.columns), None)

    def _parse_time(self, text: bytes) -> int | None:
        """Parse an event time to nanoseconds since the epoch."""
        return None if self._time_role is None else _TIMES[self._time_role](text, self.local)

    def _times(self, rows: Sequence[Row]) -> tuple[Collection[int | None], tuple[DroppedValue, ...]]:
        """Return the event times, and those that are not understood.

        A block holds few distinct times, so each one is parsed once.
        """
        if self._time_role is None:
            return (), ()
        column = self.roles.columns[self._time_role]
        moments = {text: self._parse_time(text) for text in {row[column] for row in rows}}
        if None not in moments.values():
            return moments.values(), ()
        return moments.values(), dropped_values("time", [row[column] for row in rows if moments[row[column]] is None])


def _column(rows: Sequence[Row], column: int | None) -> Iterable[bytes]:
    """Return the values of a column, b"" for each row if there is no such column."""
    return repeat(b"") if column is None else map(itemgetter(column), rows)


def _common(text: bytes, _: tzinfo) -> int | None:
    return common_log(text.strip(b"[]"))


#: The parsers of event times, in the order of preference.
_TIMES: Mapping[str, Callable[[bytes, tzinfo], int | None]] = {
    TIME_EPOCH: epoch_seconds,
    TIME_ISO: iso,
    TIME_COMMON: _common,
}
