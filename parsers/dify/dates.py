"""Parse event times in any LOG_DATEFORMAT (api/extensions/ext_logging.py: time.strftime of the wall clock in LOG_TZ).

A time is None if it is not certain. This is so if the year is missing (a parser has no clock), or if day and month
could be swapped: `03/04/2026`, but not `29/11/2026` and `11/29/2026`. The line counts all the same.

Dify passes a wall clock without a zone to strftime, so `%z` is always +0000, and `%s` counts as if LOG_TZ were UTC.
Therefore times with an offset of zero and seconds since the epoch are in the configured time zone. Any other offset
counts as it is written.
"""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

from parsers.values.patterns import lazy
from parsers.values.times import MONTHS, epoch

_WEEKDAY = r"(?:[A-Z][a-z]{2,8},? +)?"
_MONTH = r"(?P<month>[A-Z][a-z]{2})[a-z]{0,6}"
_DATES = (
    r"(?P<Y>\d{4})(?P<s>[-/.])(?P<m>\d\d?)(?P=s)(?P<d>\d\d?)",
    r"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)",
    r"(?P<y>\d\d)-(?P<m>\d\d)-(?P<d>\d\d)",
    r"(?P<d>\d\d?)\.(?P<m>\d\d?)\.(?P<Y>\d{4})",
    r"(?P<one>\d\d?)(?P<s>[-/])(?P<two>\d\d?)(?P=s)(?P<Y>\d{4})",
    _WEEKDAY + r"(?P<d>\d\d?)[-/ ]" + _MONTH + r"[-/ ](?P<Y>\d{4})",
    _WEEKDAY + _MONTH + r" +(?P<d>\d\d?),? (?P<Y>\d{4})",
)
_CLOCK = r"(?P<H>\d\d?):?(?P<M>\d\d)(?::?(?P<S>\d\d))?(?: ?(?P<half>[AaPp])[Mm])?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d))?"
_FORMS = (
    *(lazy(rf"{date}(?:[T _:-]| - |, )?{_CLOCK}{_ZONE}") for date in _DATES),
    # ctime(3), strftime's %c
    lazy(rf"{_WEEKDAY}{_MONTH} +(?P<d>\d\d?) {_CLOCK}{_ZONE} (?P<Y>\d{{4}})"),
)
_EPOCH = lazy(r"1\d{9}")
_CENTURY = 2000


def time_in_any_format(text: bytes, local: tzinfo) -> int | None:
    """Parse a time without its milliseconds to nanoseconds since the epoch; None if it is not certain.

    `local` is the configured time zone.
    """
    written = text.decode("ascii", "replace")
    try:
        if _EPOCH.fullmatch(written):
            return epoch(datetime.fromtimestamp(int(written), UTC).replace(tzinfo=None), local)
        match = next((match for form in _FORMS if (match := form.fullmatch(written))), None)
        return None if match is None else epoch(_datetime(match.groupdict()), local)
    except (ValueError, KeyError, OverflowError):
        return None


def _datetime(parts: dict[str, str | None]) -> datetime:
    """Raises ValueError or KeyError for a time that does not exist or is ambiguous."""
    year = int(parts["Y"] or 0) if "Y" in parts else _CENTURY + int(parts["y"] or 0)
    month, day = _month_and_day(parts)
    hour, half = int(parts["H"] or 0), (parts["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return datetime(year, month, day, hour, int(parts["M"] or 0), int(parts["S"] or 0), tzinfo=_zone(parts["zone"]))


def _month_and_day(parts: dict[str, str | None]) -> tuple[int, int]:
    if "one" in parts:
        one, two = int(parts["one"] or 0), int(parts["two"] or 0)
        if one != two and max(one, two) <= 12:
            raise ValueError("day and month could be swapped")
        return (two, one) if two <= 12 else (one, two)
    month = MONTHS[(parts["month"] or "").encode()] if "month" in parts else int(parts["m"] or 0)
    return month, int(parts["d"] or 0)


def _zone(text: str | None) -> tzinfo | None:
    """Return the zone of a text, None for an offset of zero: Dify writes it in every time zone."""
    if text is None or text in ("Z", "UTC", "GMT"):
        return None
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset) if offset else None
