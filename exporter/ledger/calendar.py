"""Spans of event time in a time zone: hours, days, weeks and months. Weeks begin on Monday (ISO 8601).

A day has 23 or 25 hours when daylight saving time begins or ends; the hour that occurs twice is two hours.
"""

from datetime import date, datetime, timedelta, tzinfo
from typing import Literal

from parsers.values.numbers import SECOND

Unit = Literal["hour", "day", "week", "month"]

_HOUR = 3600


class Spans:
    """The spans of a unit in a time zone. It remembers the last one, because nearly every time is in the same one."""

    def __init__(self, unit: Unit, local: tzinfo) -> None:
        self._unit, self._local = unit, local
        self._last = 0, 0

    def __call__(self, at: int) -> tuple[int, int]:
        begin, end = self._last
        if not begin <= at < end:
            begin, end = self._last = span_of(self._unit, self._local, at)
        return begin, end


def span_of(unit: Unit, local: tzinfo, at: int) -> tuple[int, int]:
    """The beginning of the span that contains the time `at`, and the beginning of the next span, in nanoseconds."""
    if unit == "hour":
        begin, end = _hour(at // SECOND, local)
        return begin * SECOND, end * SECOND
    first = datetime.fromtimestamp(at // SECOND, local).date()
    if unit == "day":
        following = first + timedelta(days=1)
    elif unit == "week":
        first -= timedelta(days=first.weekday())
        following = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    return midnight(first, local), midnight(following, local)


def midnight(day: date, local: tzinfo) -> int:
    """The nanosecond at which a day begins. If daylight saving time skips midnight, it is the moment of the change."""
    return int(datetime(day.year, day.month, day.day, tzinfo=local).timestamp()) * SECOND


def _hour(at: int, local: tzinfo) -> tuple[int, int]:
    """The hour of a time, in seconds. A change of the offset inside an hour ends it."""
    moment = datetime.fromtimestamp(at, local)
    begin = at - moment.minute * 60 - moment.second
    end, offset = begin + _HOUR, moment.utcoffset()

    def same(second: int) -> bool:
        return datetime.fromtimestamp(second, local).utcoffset() == offset

    if not same(begin):
        begin = next(second for second in range(begin, at + 1) if same(second))
    if not same(end - 1):
        end = next(second for second in range(at, end) if not same(second))
    return begin, end
