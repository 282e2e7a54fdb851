"""Event times as logs write them, in nanoseconds since the epoch; None where the text is no time."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Nanoseconds up to the year 2261, so that they fit 64 bits: a later time is no event's.
LAST = 9_200_000_000_000_000_000
_MONTHS = {m: n for n, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


def zone(name: str) -> tzinfo:
    """The time zone of that IANA name. Raises ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a name that is a folder, such as "Europe"
        raise ValueError(
            f"timezone: unknown time zone {name!r}, expected a name such as UTC or Asia/Shanghai"
        ) from None


def epoch(moment: datetime, local: tzinfo) -> int:
    """Nanoseconds since the epoch; a time without a zone is `local`. Raises OverflowError beyond the year 2261."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local)
    nanoseconds = (moment - _EPOCH) // _MICROSECOND * 1000
    if abs(nanoseconds) > LAST:
        raise OverflowError
    return nanoseconds


def iso(text: bytes, local: tzinfo) -> int | None:
    """`2026-11-23T08:53:31.404Z`, `2026-11-23 08:53:31,404`, `2026/11/23 09:04:22`; digits past µs are dropped."""
    try:
        written = text.decode("ascii").replace("/", "-").replace(",", ".")
        return epoch(datetime.fromisoformat(written), local)
    except (ValueError, OverflowError):
        return None


def iso_of(at: int) -> str:
    """A time in nanoseconds since the epoch as `iso` reads it, to the microsecond."""
    return (_EPOCH + at // 1000 * _MICROSECOND).isoformat()


def common_log(text: bytes) -> int | None:
    """`23/Nov/2026:09:04:19 +0000`: nginx' $time_local, gunicorn's %(t)s without its brackets."""
    try:
        day, month, rest = text.split(b"/", 2)
        year, hour, minute, second, sign, offset = (
            rest[0:4], rest[5:7], rest[8:10], rest[11:13], rest[14:15], rest[15:19],
        )  # fmt: skip
        moment = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        east = timedelta(hours=int(offset[:2]), minutes=int(offset[2:]))
        return epoch(moment + east if sign == b"-" else moment - east, UTC)
    except (ValueError, KeyError, OverflowError):
        return None
