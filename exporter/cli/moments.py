"""Shared by the commands that read a span of time: the options --since and --until."""

import re
import time
from datetime import datetime, tzinfo

from parsers.values.numbers import SECOND
from parsers.values.times import LATEST

#: The oldest time that an option accepts: a year after the beginning of Unix time, so that no time zone makes it
#: negative.
OLDEST = 365 * 86_400 * SECOND

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def limits(since: str | None, until: str | None, local: tzinfo) -> tuple[int | None, int | None]:
    """Both options in nanoseconds since the epoch. A time that names no time zone is in `local`. Raises ValueError."""
    found = _moment("--since", since, local), _moment("--until", until, local)
    check_order(*found)
    return found


def check_order(since: int | None, until: int | None) -> None:
    """Raises ValueError if no time lies between the two."""
    if since is not None and until is not None and since >= until:
        raise ValueError("--since must be before --until: this span of time is empty")


def _moment(option: str, text: str | None, local: tzinfo) -> int | None:
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        at = time.time_ns() - int(ago[1]) * _UNITS[ago[2]] * SECOND
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            expected = "expected a time such as 2026-11-23T08:00:00Z, or how long ago: 30m, 2h, 1w"
            raise ValueError(f'{option}: {expected}; found "{text}"') from None
        at = round((found if found.tzinfo else found.replace(tzinfo=local)).timestamp() * SECOND)
    if not OLDEST <= at <= LATEST:
        raise ValueError(f'{option}: expected a time in the years 1971 to 2260, found "{text}"')
    return at
