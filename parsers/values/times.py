"""Parse event times into nanoseconds since the Unix epoch; None for a text that is not a time."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, available_timezones

from parsers.values.numbers import MICROSECOND, MILLISECOND, SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MICROSECOND = timedelta(microseconds=1)
#: The latest time, in the year 2261: nanoseconds since the epoch then still fit into 64 bits.
LATEST = 9_200_000_000_000_000_000
_SECONDS = re.compile(rb"[0-9]{1,11}(?:\.[0-9]{1,3})?")
#: `1795939201.327`, or with the exponent that programs print for large floats.
_EPOCH_NUMBER = re.compile(rb"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE]\+?[0-9]{1,2})?")
#: The unit of a number below each limit: seconds below 1e11, then milliseconds, then microseconds.
_EPOCH_UNITS = ((10**11, SECOND), (10**14, MILLISECOND), (10**17, MICROSECOND))
#: March 1973, the first time with 9 digits of seconds. A smaller number could be anything: 8 digits are an ISO date.
_EARLIEST_EPOCH_TIME = 10**8 * SECOND
#: The blank between a time and its zone.
_BEFORE_ZONE = re.compile(rb" (?=[+-][0-9]{2}:?[0-9]{2}\Z)")
_COMMON_LOG = re.compile(
    rb"([0-9]{1,2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
    rb"(?: ?([+-])([01][0-9]):?([0-5][0-9]))?"
)
MONTHS = {m: n for n, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name. Raises ValueError for an unknown name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a name that is a folder, such as "Europe"
        from difflib import get_close_matches  # only a message needs it

        near = get_close_matches(name, available_timezones(), n=1, cutoff=0.8)
        hint = f'did you mean "{near[0]}"?' if near else "expected a name such as UTC or Asia/Shanghai"
        raise ValueError(f'timezone: unknown time zone "{name}", {hint}') from None


def epoch(moment: datetime, local: tzinfo) -> int:
    """Return nanoseconds since the epoch. A time without a zone is in the zone `local`.

    Raises OverflowError beyond the year 2261.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local)
    nanoseconds = (moment - _EPOCH) // _ONE_MICROSECOND * MICROSECOND
    if abs(nanoseconds) > LATEST:
        raise OverflowError
    return nanoseconds


def iso(text: bytes, local: tzinfo) -> int | None:
    """Parse `2026-11-23T08:53:31.404Z`, `2026-11-23 08:53:31,404` or `2026/11/23 09:04:22`.

    A time without a zone is in the zone `local`. Digits beyond microseconds are dropped.
    """
    try:
        written = text.decode("ascii").replace("/", "-").replace(",", ".")
        return epoch(datetime.fromisoformat(written), local)
    except (ValueError, OverflowError):
        return None


class Minutes(dict[bytes, int | None]):
    """The begins of minutes in nanoseconds since the epoch, None for a minute that does not exist.

    The keys are ISO 8601 up to the minute. A time without a zone is in the zone `local`, whose rules change only
    between minutes.
    """

    def __init__(self, local: tzinfo) -> None:
        self._local = local

    def __missing__(self, minute: bytes) -> int | None:
        self[minute] = at = iso(minute, self._local)
        return at

    def at(self, time: bytes) -> int | None:
        """Parse a time that is known to have the shape `2026-11-23 08:53:31.404`; what follows it is not read."""
        minute = self[time[:16]]
        return None if minute is None else minute + int(time[17:19] + time[20:23]) * MILLISECOND


def newest_known(times: Iterable[int | None]) -> int | None:
    """Return the newest of times in nanoseconds since the epoch; None if none is known."""
    return max((at for at in times if at is not None), default=None)


def oldest_known(times: Iterable[int | None]) -> int | None:
    """Return the oldest of times in nanoseconds since the epoch; None if none is known."""
    return min((at for at in times if at is not None), default=None)


def iso_of(at: int) -> str:
    """Format nanoseconds since the epoch as `iso` parses them, to the microsecond."""
    return (_EPOCH + at // MICROSECOND * _ONE_MICROSECOND).isoformat()


def common_log(text: bytes, local: tzinfo = UTC) -> int | None:
    """Parse `23/Nov/2026:09:04:19 +0000`: the $time_local of nginx, and the %(t)s of gunicorn without its brackets.

    A fraction of a second and a missing zone are accepted too, as in HAProxy's %t.
    """
    match = _COMMON_LOG.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime(
            int(year), MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC if sign else local
        )
        if sign and hours + minutes != b"0000":
            east = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment + east if sign == b"-" else moment - east
        at = epoch(moment, local)
        return at + int(fraction.ljust(9, b"0")) if fraction else at
    except (ValueError, KeyError, OverflowError):
        return None


def epoch_seconds(text: bytes, _: tzinfo = UTC) -> int | None:
    """Parse `1763887459.123`, the $msec of nginx."""
    if not _SECONDS.fullmatch(text):
        return None
    at = round(float(text) * 1000) * MILLISECOND
    return at if at <= LATEST else None


def epoch_time(text: bytes) -> int | None:
    """Parse seconds, milliseconds, microseconds or nanoseconds since the epoch, with or without a fraction.

    The size of the number decides the unit: below 1e11 it is seconds. Milliseconds before the year 1973 are therefore
    read as seconds. A time after 2261 gives None.
    """
    if not _EPOCH_NUMBER.fullmatch(text):
        return None
    number = Decimal(text.decode("ascii"))
    unit = next((unit for end, unit in _EPOCH_UNITS if number < end), 1)
    nanoseconds = int(number * unit)
    return nanoseconds if nanoseconds <= LATEST else None


def any_time(text: bytes, local: tzinfo) -> int | None:
    """Parse ISO 8601, the time of the common log format or a time since the epoch, with or without brackets.

    A time without a zone is in the zone `local`.
    """
    text = text.strip(b" \t[]")
    if text[4:5] == b"-" and (at := iso(text, local)) is not None:  # nearly every log has this format
        return at
    if (at := epoch_time(text)) is not None:
        return at if at >= _EARLIEST_EPOCH_TIME else iso(text, local)
    if b"/" in text[:3]:
        return common_log(text, local)
    return iso(_BEFORE_ZONE.sub(b"", text.removesuffix(b" UTC")), local)
