"""Parse any other log by a pattern of the user with named groups.

The `regex` module is used because it has a time limit and lets other threads run while it matches. A line on which the
pattern is too slow is unparsed (`timeout`). The limit applies to each line: a log of only such lines is read slowly.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

if TYPE_CHECKING:
    import regex

from parsers.access.routes import table
from parsers.advice import Advice
from parsers.batch import OTHER, UNKNOWN, Batch, DroppedValue, FirstToken, Record, Request, Usage
from parsers.dify.tokens import TokenCounts
from parsers.dropped import NOT_KNOWN, dropped
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.values.currencies import currency_of
from parsers.values.http import FAILURES, failure_of, method_of, status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, NANOSECOND, SECOND, money, nanoseconds, token_count
from parsers.values.times import any_time, epoch, epoch_time, zone

_REQUEST_GROUPS = {"method", "path", "status_code", "duration", "time_to_first_byte", "bytes"}
_USAGE_GROUPS = {"input_tokens", "output_tokens", "total_tokens", "cost"}
_GROUPS = _REQUEST_GROUPS | _USAGE_GROUPS | {
    "time", "time_to_first_token", "app_id", "provider", "model", "currency",
}  # fmt: skip

#: The field of a DroppedValue, by the name of the group.
_FIELDS = {
    "time": "time", "duration": "duration", "time_to_first_byte": "first_byte", "time_to_first_token": "first_token",
    "bytes": "bytes", "status_code": "status_code", "cost": "price",
    "input_tokens": "tokens", "output_tokens": "tokens", "total_tokens": "tokens",
}  # fmt: skip

_UNITS = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND, "ns": NANOSECOND}

#: The `time_format` of a time since the epoch, which strptime has no directive for.
_EPOCH = "epoch"

_NO_PATH = (
    "this pattern has no group path: the route of every request is unknown; add (?P<path>…) around the path of the "
    "request"
)

#: `matched_length` reads at most this many bytes of a line.
_MAX_MATCHED = 4096

#: What the load balancers of AWS and HAProxy write instead of a duration or status code that is not known.
_NONE = "-1"
_MAY_BE_NONE = frozenset({"duration", "first_byte", "first_token", "status_code"})
#: The status is 0 where Envoy sent no response, and of a websocket in Traefik.
_NO_STATUS = NOT_KNOWN | {_NONE, "0"}

Groups = dict[str, str | None]
#: Makes a record of the texts of the groups and of their parsed values; None where the line has no such record.
RecordMaker = Callable[["Regex", Groups, Mapping[str, Any]], Record | None]


class Regex(Parser, frozen=True):
    """Parses lines by `pattern`, which may match anywhere in a line. A line that matches without a group is ignored.

    * `duration_unit`: the unit of durations.
    * `time_format`: a format of strptime, "epoch", or "" for a time that `parsers.values.times.any_time` can parse.
    * `timeout`: the time limit in seconds per line, above 0 and at most 10.
    * `timezone`: the zone of times without one.
    * `routes`: templates of paths, in addition to Dify's own.
    """

    pattern: Annotated[str, Meta(examples=[r"(?P<status_code>\d{3})"])]
    duration_unit: Literal["s", "ms", "us", "ns"] = "s"
    time_format: str = ""
    timeout: float = 0.1
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __post_init__(self) -> None:
        _ = self._zone, self._places, self._makers, self._value_parsers
        if not 0 < self.timeout <= 10:
            raise ValueError(f"timeout must be above 0 and at most 10 seconds, found {self.timeout}")
        _check_time_format(self.time_format)
        names = set(self._compiled.groupindex)
        for name in sorted(names - _GROUPS):
            near = get_close_matches(name, _GROUPS, n=1, cutoff=0.7)
            hint = f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(sorted(_GROUPS))}"
            raise ValueError(f'pattern: unknown group "{name}", {hint}')
        if not names & (_REQUEST_GROUPS | _USAGE_GROUPS | {"time_to_first_token"}):
            raise ValueError("pattern: found no named group to count, expected one such as (?P<status_code>…)")

    @cached_property
    def _zone(self) -> tzinfo:
        return zone(self.timezone)

    @cached_property
    def _compiled(self) -> "regex.Pattern[str]":
        import regex  # imported late: it takes a twentieth of the start-up time of a replay

        try:
            return regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: does not compile: {error}") from error
        except RecursionError:
            raise ValueError("pattern: does not compile: its groups are nested too deeply") from None

    @cached_property
    def _places(self) -> tuple[tuple[str, int], ...]:
        """The names of the groups, and their places among all groups of a match."""
        return tuple((name, number - 1) for name, number in self._compiled.groupindex.items())

    @cached_property
    def _makers(self) -> tuple[RecordMaker, ...]:
        names = set(self._compiled.groupindex)
        makers: list[RecordMaker] = []
        if names & _REQUEST_GROUPS:
            makers.append(_request)
        if names & _USAGE_GROUPS:
            makers.append(_usage)
        if "time_to_first_token" in names:
            makers.append(_first_token)
        return tuple(makers)

    def error_kinds(self, sample: Batch) -> frozenset[str]:
        return frozenset()

    def failure_reasons(self, sample: Batch) -> frozenset[str]:
        return FAILURES if "status_code" in self._compiled.groupindex else frozenset()

    def advice(self, sample: Batch, log: bytes = b"") -> tuple[Advice, ...]:
        names = self._compiled.groupindex.keys()
        return (Advice(_NO_PATH),) if names & _REQUEST_GROUPS and "path" not in names else ()

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return by_line(window, final, self._line)

    def matched_length(self, line: bytes) -> int:
        """Return the length of the longest beginning of the line that could be the beginning of a match."""
        text = line[:_MAX_MATCHED].decode("utf-8", "replace")

        def cannot_match(length: int) -> bool:
            return self._compiled.match(text, endpos=length, partial=True, timeout=self.timeout) is None

        try:
            fits = bisect_left(range(1, len(text) + 1), True, key=cannot_match)
        except (TimeoutError, MemoryError):
            return 0
        return len(text[:fits].encode())

    def _line(self, line: bytes) -> Outcome:
        try:
            match = self._compiled.search(line.decode("utf-8", "replace"), timeout=self.timeout)
        except (TimeoutError, MemoryError):  # a pattern that calls itself may need all memory
            return "timeout"
        if match is None:
            return "format"
        if match.lastindex is None:
            return None
        every = match.groups()
        groups: Groups = {name: every[at] for name, at in self._places}  # several times as fast as groupdict
        values = {name: parse(text) for name, parse in self._value_parsers.items() if (text := groups[name])}
        records = [record for make in self._makers if (record := make(self, groups, values)) is not None]
        if None in values.values():
            records += _dropped_values(groups, values)
        return records, values.get("time")

    @cached_property
    def _value_parsers(self) -> Mapping[str, Callable[[str], Any]]:
        """For each group of a time or number: a function that parses its text, and returns None if it cannot."""
        known: dict[str, Callable[[str], Any]] = {
            "time": self._time,
            **dict.fromkeys(("duration", "time_to_first_byte", "time_to_first_token"), self._duration),
            **dict.fromkeys(("bytes", "input_tokens", "output_tokens", "total_tokens"), _count),
            "cost": money,
            "status_code": lambda text: text if text.isascii() and text.isdigit() else None,
        }
        return {name: parse for name, parse in known.items() if name in self._compiled.groupindex}

    def _duration(self, text: str) -> int | None:
        """Parse what Python's float accepts (`1.204113`, `8.1123e-05`), except underscores and non-ASCII digits."""
        return nanoseconds(text, _UNITS[self.duration_unit]) if text.isascii() and "_" not in text else None

    def _time(self, text: str) -> int | None:
        if not self.time_format:
            return any_time(text.encode("ascii", "replace"), self._zone)
        if self.time_format == _EPOCH:
            return epoch_time(text.strip(" []").encode("ascii", "replace"))
        try:
            return epoch(datetime.strptime(text, self.time_format), self._zone)  # noqa: DTZ007
        except (ValueError, OverflowError):
            return None


def _dropped_values(groups: Groups, values: Mapping[str, object]) -> Iterator[DroppedValue]:
    for name, value in values.items():
        if value is None and not (groups[name] == _NONE and _FIELDS[name] in _MAY_BE_NONE):
            yield from dropped(_FIELDS[name], groups[name], None)


def _check_time_format(time_format: str) -> None:
    if "%s" in time_format:
        raise ValueError('time_format: strptime has no %s; for a time since the epoch use "epoch"')
    if time_format not in ("", _EPOCH) and "%" not in time_format:
        raise ValueError(
            f'time_format: expected "", "{_EPOCH}" or a format of strptime such as "%d/%b/%Y:%H:%M:%S %z", '
            f'found "{time_format}"'
        )
    try:
        datetime.strptime("", time_format)  # noqa: DTZ007
    except ValueError as error:
        if "does not match format" not in str(error):  # an unknown directive, or a single %
            raise ValueError(f"time_format: {error}") from error
    except re.error as error:
        raise ValueError(f"time_format: {time_format!r} contains the same directive twice") from error


def _request(parser: Regex, groups: Groups, values: Mapping[str, Any]) -> Request:
    path = groups.get("path")
    status = status_code_of((groups.get("status_code") or "").encode())
    if status is OTHER and groups["status_code"] in _NO_STATUS:
        status = UNKNOWN
    method = method_of((groups.get("method") or "").encode())
    if method is OTHER and groups["method"] in NOT_KNOWN:
        method = UNKNOWN
    duration, first_byte = values.get("duration"), values.get("time_to_first_byte")
    return Request(
        method,
        table(parser.routes).of_target(path.encode()) if path and path not in NOT_KNOWN else UNKNOWN,
        status,
        failure_of(status),
        response_bytes=values.get("bytes"),
        durations=() if duration is None else (duration,),
        first_bytes=() if first_byte is None else (first_byte,),
    )


def _usage(_: Regex, groups: Groups, values: Mapping[str, Any]) -> Usage | None:
    input_tokens, output_tokens, total = map(values.get, ("input_tokens", "output_tokens", "total_tokens"))
    cost: Decimal | None = values.get("cost")
    if input_tokens is None and output_tokens is None and total is None and cost is None:
        return None
    has_only_total = input_tokens is None and output_tokens is None
    return Usage(
        groups.get("app_id") or UNKNOWN,
        groups.get("provider") or UNKNOWN,
        groups.get("model") or UNKNOWN,
        input_tokens,
        output_tokens,
        total if has_only_total else TokenCounts(input_tokens, output_tokens, total).split[2] or None,
        cost,
        currency_of(groups.get("currency")),
        values.get("time"),
        is_call=True,
    )


def _first_token(_: Regex, groups: Groups, values: Mapping[str, Any]) -> FirstToken | None:
    duration = values.get("time_to_first_token")
    if duration is None:
        return None
    return FirstToken(groups.get("app_id") or UNKNOWN, groups.get("model") or UNKNOWN, duration)


def _count(text: str) -> int | None:
    """Parse a count of tokens or bytes: at most 18 ASCII digits."""
    return token_count(int(text)) if text.isascii() and text.isdigit() and len(text) <= 18 else None
