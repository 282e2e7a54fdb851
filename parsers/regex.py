"""Any other log, by a pattern of the user's with named groups.

The `regex` module is the one engine with a time limit that lets other threads run meanwhile: a pattern that is
slow on a line costs that line. The limit is per line; a log of nothing but such lines is read at its pace.
"""

import re
from bisect import bisect_left
from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

if TYPE_CHECKING:
    import regex

from parsers.access.routes import table
from parsers.batch import UNKNOWN, Batch, FirstToken, Record, Request, Usage
from parsers.dify.tokens import Told
from parsers.lines import Outcome, by_line
from parsers.parser import Parser
from parsers.values.currencies import currency_of
from parsers.values.http import FAILURES, failure_of, method_of, status_code_of
from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND, money, nanoseconds, token_count
from parsers.values.times import epoch, iso, zone

_REQUEST_GROUPS = {"method", "path", "status_code", "duration", "time_to_first_byte", "bytes"}
_USAGE_GROUPS = {"input_tokens", "output_tokens", "total_tokens", "cost"}
_GROUPS = _REQUEST_GROUPS | _USAGE_GROUPS | {
    "time", "time_to_first_token", "app_id", "provider", "model", "currency",
}  # fmt: skip

_UNITS = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND}

_LONGEST_REACH = 4096

Groups = dict[str, str | None]


class Regex(Parser, frozen=True):
    """`timeout` is seconds per line; `time_format` is strptime's, "" for ISO 8601."""

    pattern: Annotated[str, Meta(examples=[r"(?P<status_code>\d{3})"])]
    duration_unit: Literal["s", "ms", "us"] = "s"
    time_format: str = ""
    timeout: float = 0.1
    timezone: str = "UTC"
    routes: tuple[str, ...] = ()

    guesses: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __post_init__(self) -> None:
        zone(self.timezone)
        _ = self._makers
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
    def _compiled(self) -> "regex.Pattern[str]":
        import regex  # a twentieth of a replay's start, which most need not

        try:
            return regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: does not compile: {error}") from error

    @cached_property
    def _makers(self) -> tuple[Callable[["Regex", Groups, int | None], Record | None], ...]:
        names = set(self._compiled.groupindex)
        makers: list[Callable[[Regex, Groups, int | None], Record | None]] = []
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
        at = self._time(groups.get("time"))
        return [record for make in self._makers if (record := make(self, groups, at)) is not None], at

    def _time(self, text: str | None) -> int | None:
        if text is None:
            return None
        if not self.time_format:
            return iso(text.strip().encode(), zone(self.timezone))
        try:
            return epoch(datetime.strptime(text, self.time_format), zone(self.timezone))  # noqa: DTZ007
        except (ValueError, OverflowError):
            return None

    def duration(self, text: str | None) -> int | None:
        """Nanoseconds of a duration group."""
        return nanoseconds(text, _UNITS[self.duration_unit]) if text else None


def _check_time_format(time_format: str) -> None:
    try:
        datetime.strptime("", time_format)  # noqa: DTZ007
    except ValueError as error:
        if "does not match format" not in str(error):  # a directive that does not exist, a lone %
            raise ValueError(f"time_format: {error}") from error
    except re.error as error:
        raise ValueError(f"time_format: a directive stands twice in {time_format!r}") from error


def _request(parser: Regex, groups: Groups, at: int | None) -> Request:
    del at
    method, status_code = groups.get("method") or "", groups.get("status_code") or ""
    path = groups.get("path")
    status = status_code_of(status_code.encode())
    whole, first = parser.duration(groups.get("duration")), parser.duration(groups.get("time_to_first_byte"))
    return Request(
        method_of(method.encode()),
        table(parser.routes).of_target(path.encode()) if path else UNKNOWN,
        status,
        failure_of(status),
        response_bytes=_count(groups.get("bytes")),
        durations=() if whole is None else (whole,),
        first_bytes=() if first is None else (first,),
    )


def _usage(parser: Regex, groups: Groups, at: int | None) -> Usage | None:
    del parser
    tokens = [_count(groups.get(name)) for name in ("input_tokens", "output_tokens", "total_tokens")]
    cost = money(groups.get("cost") or None)
    if tokens == [None, None, None] and cost is None:
        return None
    known = tokens[0] is not None or tokens[1] is not None
    return Usage(
        groups.get("app_id") or UNKNOWN,
        groups.get("provider") or UNKNOWN,
        groups.get("model") or UNKNOWN,
        tokens[0],
        tokens[1],
        Told(*tokens).split[2] or None if known else tokens[2],
        cost,
        currency_of(groups.get("currency")),
        at,
    )


def _first_token(parser: Regex, groups: Groups, at: int | None) -> FirstToken | None:
    del at
    duration = parser.duration(groups.get("time_to_first_token"))
    if duration is None:
        return None
    return FirstToken(groups.get("app_id") or UNKNOWN, groups.get("model") or UNKNOWN, duration)


def _count(text: str | None) -> int | None:
    """A count of tokens or bytes: ASCII digits, no more than a reasonable number of them."""
    return token_count(int(text)) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
