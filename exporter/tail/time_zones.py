"""Detects a time zone that is missing in the configuration: it shifts all event times by its offset."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from parsers.envelope import inner_of, with_options
from parsers.parser import Parser
from parsers.values.numbers import SECOND
from parsers.values.times import zone

_log = logging.getLogger(__name__)

_QUARTER, _HOUR = 900, 3600
#: The largest offset in seconds: inhabited time zones are at most 14 hours from UTC.
_FURTHEST = 14 * _HOUR
#: Seconds by which the clocks of two machines may differ.
AHEAD = 120
#: Largest delay in seconds between the time of a line and the moment at which a live log is read.
_CLOSE = 30

_MEANING = ", the zone in which the log is written (LOG_TZ of Dify)"

#: The first zone with a matching offset is proposed.
_NAMES = (
    "UTC", "Asia/Shanghai", "Asia/Tokyo", "Asia/Kolkata", "Asia/Singapore", "Asia/Bangkok", "Asia/Dubai",
    "Europe/London", "Europe/Berlin", "Europe/Helsinki", "Europe/Moscow", "America/New_York", "America/Chicago",
    "America/Denver", "America/Los_Angeles", "America/Sao_Paulo", "Australia/Sydney", "Pacific/Auckland",
    "Asia/Karachi", "Asia/Kathmandu", "Asia/Tehran", "Asia/Dhaka", "Asia/Yangon", "Australia/Adelaide",
)  # fmt: skip


def whole_offset(at: int, seen: float) -> int | None:
    """Return by how many seconds the event time `at` (nanoseconds) is ahead of the moment `seen` at which its line was
    written (seconds since the epoch), as a multiple of 15 minutes. Return None if it is no offset of a time zone.
    """
    difference = at / SECOND - seen
    offset = round(difference / _QUARTER) * _QUARTER
    return offset if offset and abs(offset) <= _FURTHEST and abs(difference - offset) <= _CLOSE else None


def fitting(parser: Parser, log: bytes, at: int, offset: int) -> str | None:
    """Return the time zone that moves the newest time `at` of a log back by `offset` seconds. Return None if no zone
    does, because the lines name their zone.
    """
    configured = _timezone(parser)
    if configured is None:
        return None
    moment = datetime.fromtimestamp(at // SECOND, UTC)
    wanted = timedelta(seconds=offset) + (_offset(configured, moment) or timedelta())
    hours = wanted // timedelta(hours=1)
    for name in (*_NAMES, f"Etc/GMT{-hours:+d}"):  # in POSIX names, west is positive
        if _offset(name, moment) == wanted:
            try:
                moved = with_options(parser, {"timezone": name}).parse(log, final=True).last_at
            except Exception:  # a third-party parser may raise anything
                return None
            return name if moved == at - offset * SECOND else None
    return None


def humanized(seconds: float) -> str:
    """Return a duration such as `8 hours` or `5 hours 30 minutes`."""
    hours, minutes = divmod(round(abs(seconds) / 60), 60)
    parts = [f"{n} {unit}{'s' * (n != 1)}" for n, unit in ((hours, "hour"), (minutes, "minute")) if n]
    return " ".join(parts) or "less than a minute"


def ahead_of_the_clock(parser: Parser, log: bytes, at: int, seen: float, now: float) -> str:
    """Return a warning about a newest time in the future, with the remedy. `seen` is as in `whole_offset`."""
    ahead = at / SECOND - now
    offset = whole_offset(at, seen)
    name = fitting(parser, log, at, offset or -int(-ahead // _HOUR) * _HOUR)
    if name is None:
        remedy = "no timezone of its [[source]] explains that, so the clock of one of the two machines is wrong"
    else:
        remedy = f'set timezone = "{"…" if offset is None else name}" in its [[source]]{_MEANING}'
    return f"the newest time is {humanized(offset or ahead)} ahead of the clock: {remedy}"


def behind_the_clock(parser: Parser, log: bytes, at: int, seen: float) -> str | None:
    """Return a warning about a newest time that is too early by a time zone offset, None if it is not."""
    offset = whole_offset(at, seen)
    name = None if offset is None or offset > 0 else fitting(parser, log, at, offset)
    if offset is None or name is None:
        return None
    return (
        f"the newest time is {humanized(offset)} before the moment at which its line was written: "
        f'set timezone = "{name}" in its [[source]]{_MEANING}'
    )


class EventTimeCheck:
    """Checks the event times of one source that is read live, and warns once if they are wrong.

    `clock` returns seconds since the epoch.
    """

    #: So many checks in a row with the same offset mean a wrong time zone. The checks are `_APART` seconds apart.
    _OFTEN = 3
    _APART = 20.0

    def __init__(self, source: str, parser: Parser, clock: Callable[[], float]) -> None:
        self._source, self._parser, self._clock = source, parser, clock
        self._has_warned = False
        self._offset: int | None = None
        self._times = 0
        self._looked_at = 0.0

    def look(self, log: bytes, at: int | None, live: bool) -> None:
        """Check the newest time of some lines. `live`: the lines were written just now."""
        now, warning = self._clock(), None
        if self._has_warned or at is None:
            return
        if at / SECOND - now > AHEAD:
            warning = ahead_of_the_clock(self._parser, log, at, now, now)
        elif live and now - self._looked_at >= self._APART:
            offset, self._looked_at = whole_offset(at, now), now
            self._times = self._times + 1 if offset is not None and offset == self._offset else 1
            self._offset = offset
            warning = behind_the_clock(self._parser, log, at, now) if self._times >= self._OFTEN else None
        if warning is not None:
            self._has_warned = True
            _log.warning("source %s: %s", self._source, warning)


def _timezone(parser: Parser) -> str | None:
    """Return the `timezone` of a parser, or of the parser in its envelope; None if it has no such option."""
    configured = getattr(inner_of(parser), "timezone", None)
    return configured if isinstance(configured, str) else None


def _offset(name: str, moment: datetime) -> timedelta | None:
    """Return the UTC offset of a zone, None if this machine does not know the zone."""
    try:
        local: tzinfo = zone(name)
    except ValueError:
        return None
    return moment.astimezone(local).utcoffset()
