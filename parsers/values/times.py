"""Event times as logs write them, in nanoseconds since the epoch; None where the text is no time."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Nanoseconds up to the year 2261, so that they fit 64 bits: a later time is no event's.
LAST = 9_200_000_000_000_000_000
_SECONDS = re.compile(rb"[0-9]{1,11}(?:\.[0-9]{1,3})?")
#: `1795939201.327`; an exponent as programs print large floats.
_EPOCH_NUMBER = re.compile(rb"[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE]\+?[0-9]{1,2})?")
#: By the number's size: from 1e11 on it is milliseconds, and so on.
_EPOCH_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
#: In 1973, 9 digits of seconds: a smaller number could be anything, and 8 digits are a date of ISO 8601.
_EARLIEST_RECOGNISED = 10**8 * 10**9
#: The blank before a zone.
_BEFORE_ZONE = re.compile(rb" (?=[+-][0-9]{2}:?[0-9]{2}\Z)")
_COMMON_LOG = re.compile(
    rb"([0-9]{1,2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
    rb"(?: ?([+-])([01][0-9]):?([0-5][0-9]))?"
)
MONTHS = {m: n for n, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


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


def common_log(text: bytes, local: tzinfo = UTC) -> int | None:
    """`23/Nov/2026:09:04:19 +0000`: nginx' $time_local, gunicorn's %(t)s without its brackets; also with a fraction of
    a second and without a zone, as HAProxy's %t.
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
    """`1763887459.123`, nginx' $msec."""
    if not _SECONDS.fullmatch(text):
        return None
    at = round(float(text) * 1000) * 1_000_000
    return at if at <= LAST else None


def epoch_time(text: bytes) -> int | None:
    """Seconds, milliseconds, microseconds or nanoseconds since the epoch, with or without a fraction; the size of the
    number decides which. So seconds are at most 11 digits (a time after 2261 is none), milliseconds of before 1973
    are read as seconds.
    """
    if not _EPOCH_NUMBER.fullmatch(text):
        return None
    number = Decimal(text.decode("ascii"))
    unit = next((unit for end, unit in _EPOCH_UNITS if number < end), 1)
    nanoseconds = int(number * unit)
    return nanoseconds if nanoseconds <= LAST else None


def recognised(text: bytes, local: tzinfo) -> int | None:
    """ISO 8601, common log time or a time since the epoch, in brackets or not; without a zone it is `local`."""
    text = text.strip(b" \t[]")
    if text[4:5] == b"-" and (at := iso(text, local)) is not None:  # nearly every log's
        return at
    if (at := epoch_time(text)) is not None:
        return at if at >= _EARLIEST_RECOGNISED else iso(text, local)
    if b"/" in text[:3]:
        return common_log(text, local)
    return iso(_BEFORE_ZONE.sub(b"", text.removesuffix(b" UTC")), local)
