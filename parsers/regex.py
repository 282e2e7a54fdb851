"""Any other log, by a pattern of the user's with named groups.

The `regex` module is the one engine with a time limit that lets other threads run meanwhile: a pattern that is
slow on a line costs that line. The limit is per line; a log of nothing but such lines is read at its pace.
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
from parsers.batch import UNKNOWN, Batch, DroppedValue, FirstToken, Record, Request, Usage
from parsers.dify.tokens import Told
from parsers.dropped import dropped
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.values.currencies import currency_of
from parsers.values.http import FAILURES, failure_of, method_of, status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, NANOSECOND, SECOND, money, nanoseconds, token_count
from parsers.values.times import epoch, epoch_time, recognised, zone

_REQUEST_GROUPS = {"method", "path", "status_code", "duration", "time_to_first_byte", "bytes"}
_USAGE_GROUPS = {"input_tokens", "output_tokens", "total_tokens", "cost"}
_GROUPS = _REQUEST_GROUPS | _USAGE_GROUPS | {
    "time", "time_to_first_token", "app_id", "provider", "model", "currency",
}  # fmt: skip

#: The field of a dropped value, by the group that holds it.
_FIELDS = {
    "time": "time", "duration": "duration", "time_to_first_byte": "first_byte", "time_to_first_token": "first_token",
    "bytes": "bytes", "status_code": "status_code", "cost": "price",
    "input_tokens": "tokens", "output_tokens": "tokens", "total_tokens": "tokens",
}  # fmt: skip

_UNITS = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND, "ns": NANOSECOND}

#: A time since the epoch, which strptime has no directive for.
_EPOCH = "epoch"

_LONGEST_REACH = 4096

#: What AWS' load balancers and HAProxy write in place of a duration or status that there is not.
_NONE = "-1"
_MAY_BE_NONE = frozenset({"duration", "first_byte", "first_token", "status_code"})

Groups = dict[str, str | None]
Maker = Callable[["Regex", Groups, Mapping[str, Any]], Record | None]


class Regex(Parser, frozen=True):
    """`timeout` is seconds per line; `time_format` is strptime's, "epoch", or "" for a form that is recognised (see
    `parsers.values.times.recognised`).
    """

    pattern: Annotated[str, Meta(examples=[r"(?P<status_code>\d{3})"])]
    duration_unit: Literal["s", "ms", "us", "ns"] = "s"
    time_format: str = ""
    timeout: float = 0.1
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __post_init__(self) -> None:
        _ = self._zone, self._makers, self._readers
        if not 0 < self.timeout <= 10:
            raise ValueError(f"timeout must be above 0 and at most 10 seconds, found {self.timeout}")
        _check_time_format(self.time_format)
        names = set(self._compiled.groupindex)
        for name in sorted(names - _GROUPS):
            near = get_close_matches(name, _GROUPS, n=1, cutoff=0.7)
            hint = f'did you mean "{near[0]}"?' if near else f"expected of {', '.join(sorted(_GROUPS))}"
            raise ValueError(f'pattern: unknown group "{name}", {hint}')
        if not names & (_REQUEST_GROUPS | _USAGE_GROUPS | {"time_to_first_token"}):
            raise ValueError("pattern: no named group says anything, expected one such as (?P<status_code>…)")

    @cached_property
    def _zone(self) -> tzinfo:
        return zone(self.timezone)

    @cached_property
    def _compiled(self) -> "regex.Pattern[str]":
        import regex  # a twentieth of a replay's start, which most need not

        try:
            return regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: does not compile: {error}") from error

    @cached_property
    def _makers(self) -> tuple[Maker, ...]:
        names = set(self._compiled.groupindex)
        makers: list[Maker] = []
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

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return by_line(window, final, self._line)

    def reach(self, line: bytes) -> int:
        """The longest beginning of the line that a match could go on from."""
        text = line[:_LONGEST_REACH].decode("utf-8", "replace")

        def breaks(length: int) -> bool:
            return self._compiled.match(text, endpos=length, partial=True, timeout=self.timeout) is None

        try:
            fits = bisect_left(range(1, len(text) + 1), True, key=breaks)
        except TimeoutError:
            return 0
        return len(text[:fits].encode())

    def _line(self, line: bytes) -> Outcome:
        try:
            match = self._compiled.search(line.decode("utf-8", "replace"), timeout=self.timeout)
        except TimeoutError:
            return "timeout"
        if match is None:
            return "format"
        groups = match.groupdict()
        read = {name: read(text) for name, read in self._readers.items() if (text := groups[name])}
        records = [record for make in self._makers if (record := make(self, groups, read)) is not None]
        return (records if None not in read.values() else [*records, *_unread(groups, read)]), read.get("time")

    @cached_property
    def _readers(self) -> Mapping[str, Callable[[str], Any]]:
        """By group that holds a time or a number: what its text means, None where it is not understood."""
        known: dict[str, Callable[[str], Any]] = {
            "time": self._time,
            **dict.fromkeys(("duration", "time_to_first_byte", "time_to_first_token"), self._duration),
            **dict.fromkeys(("bytes", "input_tokens", "output_tokens", "total_tokens"), _count),
            "cost": money,
            "status_code": lambda text: text if text.isascii() and text.isdigit() else None,
        }
        return {name: read for name, read in known.items() if name in self._compiled.groupindex}

    def _duration(self, text: str) -> int | None:
        """What float takes (`1.204113`, `8.1123e-05`), without underscores and digits outside ASCII."""
        return nanoseconds(text, _UNITS[self.duration_unit]) if text.isascii() and "_" not in text else None

    def _time(self, text: str) -> int | None:
        if not self.time_format:
            return recognised(text.encode("ascii", "replace"), self._zone)
        if self.time_format == _EPOCH:
            return epoch_time(text.strip(" []").encode("ascii", "replace"))
        try:
            return epoch(datetime.strptime(text, self.time_format), self._zone)  # noqa: DTZ007
        except (ValueError, OverflowError):
            return None


def _unread(groups: Groups, read: Mapping[str, object]) -> Iterator[DroppedValue]:
    for name, value in read.items():
        if value is None and not (groups[name] == _NONE and _FIELDS[name] in _MAY_BE_NONE):
            yield from dropped(_FIELDS[name], groups[name], None)


def _check_time_format(time_format: str) -> None:
    if "%s" in time_format:
        raise ValueError('time_format: strptime has no %s; for a time since the epoch take "epoch"')
    if time_format not in ("", _EPOCH) and "%" not in time_format:
        raise ValueError(
            f'time_format: expected "", "{_EPOCH}" or a form of strptime such as "%d/%b/%Y:%H:%M:%S %z", '
            f'found "{time_format}"'
        )
    try:
        datetime.strptime("", time_format)  # noqa: DTZ007
    except ValueError as error:
        if "does not match format" not in str(error):  # a directive that does not exist, a lone %
            raise ValueError(f"time_format: {error}") from error
    except re.error as error:
        raise ValueError(f"time_format: a directive stands twice in {time_format!r}") from error


def _request(parser: Regex, groups: Groups, read: Mapping[str, Any]) -> Request:
    path = groups.get("path")
    status = status_code_of((groups.get("status_code") or "").encode())
    whole, first = read.get("duration"), read.get("time_to_first_byte")
    return Request(
        method_of((groups.get("method") or "").encode()),
        table(parser.routes).of_target(path.encode()) if path else UNKNOWN,
        status,
        failure_of(status),
        response_bytes=read.get("bytes"),
        durations=() if whole is None else (whole,),
        first_bytes=() if first is None else (first,),
    )


def _usage(_: Regex, groups: Groups, read: Mapping[str, Any]) -> Usage | None:
    given, produced, total = (read.get(name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    cost: Decimal | None = read.get("cost")
    if given is None and produced is None and total is None and cost is None:
        return None
    return Usage(
        groups.get("app_id") or UNKNOWN,
        groups.get("provider") or UNKNOWN,
        groups.get("model") or UNKNOWN,
        given,
        produced,
        total if given is None and produced is None else Told(given, produced, total).split[2] or None,
        cost,
        currency_of(groups.get("currency")),
        read.get("time"),
    )


def _first_token(_: Regex, groups: Groups, read: Mapping[str, Any]) -> FirstToken | None:
    duration = read.get("time_to_first_token")
    if duration is None:
        return None
    return FirstToken(groups.get("app_id") or UNKNOWN, groups.get("model") or UNKNOWN, duration)


def _count(text: str) -> int | None:
    """A count of tokens or bytes: ASCII digits, no more than a reasonable number of them."""
    return token_count(int(text)) if text.isascii() and text.isdigit() and len(text) <= 18 else None
