"""Event times as any LOG_DATEFORMAT writes them (api/extensions/ext_logging.py: time.strftime of LOG_TZ's wall clock).

A time that cannot be known is None, and the line counts all the same: where the year is missing (a parser has no
clock), and where the order of day and month is open (`03/04/2026`; `29/11/2026` and `11/29/2026` are both read).

Dify hands strftime a wall clock without a zone, so that `%z` is +0000 and `%s` counts as in UTC, whatever LOG_TZ is.
Hence an offset of zero and seconds since the epoch are read in the configured time zone, another offset as written.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

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
    *(re.compile(rf"{date}(?:[T _:-]| - |, )?{_CLOCK}{_ZONE}") for date in _DATES),
    # ctime(3), strftime's %c
    re.compile(rf"{_WEEKDAY}{_MONTH} +(?P<d>\d\d?) {_CLOCK}{_ZONE} (?P<Y>\d{{4}})"),
)
_EPOCH = re.compile(r"1\d{9}")
_CENTURY = 2000


def moment(text: bytes, local: tzinfo) -> int | None:
    """Nanoseconds since the epoch of a time without its milliseconds; None where it cannot be known."""
    written = text.decode("ascii", "replace")
    try:
        if _EPOCH.fullmatch(written):
            return epoch(datetime.fromtimestamp(int(written), UTC).replace(tzinfo=None), local)
        found = next((match for form in _FORMS if (match := form.fullmatch(written))), None)
        return None if found is None else epoch(_datetime(found.groupdict()), local)
    except (ValueError, KeyError, OverflowError):
        return None


def _datetime(parts: dict[str, str | None]) -> datetime:
    """Raises ValueError and KeyError for what no calendar has, and for a day that may be two."""
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
            raise ValueError("the order of day and month is open")
        return (two, one) if two <= 12 else (one, two)
    month = MONTHS[(parts["month"] or "").encode()] if "month" in parts else int(parts["m"] or 0)
    return month, int(parts["d"] or 0)


def _zone(text: str | None) -> tzinfo | None:
    """None for an offset of zero: Dify writes it in every time zone."""
    if text is None or text in ("Z", "UTC", "GMT"):
        return None
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset) if offset else None
