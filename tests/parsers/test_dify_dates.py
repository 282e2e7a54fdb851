"""Times in any LOG_DATEFORMAT."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from parsers.dify.dates import time_in_any_format

EIGHT = int(datetime(2026, 11, 29, 8, 0, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
HOUR = 3_600 * 1_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29T08:00:01", "2026/11/29 08:00:01", "2026.11.29 08:00:01", "20261129 080001", "20261129080001",
        "26-11-29 08:00:01", "29/11/2026 08:00:01", "11/29/2026 08:00:01", "29-11-2026 08:00:01",
        "29.11.2026 08:00:01", "29/Nov/2026:08:00:01", "29 November 2026 08:00:01", "Nov 29, 2026 08:00:01",
        "Sun Nov 29 08:00:01 2026", "Sun, 29 Nov 2026 08:00:01", "2026-11-29 08:00:01 AM", "2026-11-29T08:00:01Z",
        "2026-11-29 08:00:01 +0000", "2026-11-29 08:00:01 UTC", "1795939201",
    ],
)  # fmt: skip
def test_a_time_is_in_the_configured_zone(text: str) -> None:
    """Dify's %z is always +0000, whatever LOG_TZ is, so an offset of zero is ignored."""
    assert time_in_any_format(text.encode(), UTC) == EIGHT
    assert time_in_any_format(text.encode(), ZoneInfo("Asia/Shanghai")) == EIGHT - 8 * HOUR


def test_another_offset_counts_as_written() -> None:
    for text in (b"2026-11-29 08:00:01 +0800", b"2026-11-29T08:00:01+08:00", b"29/11/2026 08:00:01+0800"):
        assert time_in_any_format(text, UTC) == time_in_any_format(text, ZoneInfo("Asia/Tokyo")) == EIGHT - 8 * HOUR
    assert time_in_any_format(b"2026-11-29 08:00:01 -0530", UTC) == EIGHT + 5 * HOUR + HOUR // 2


def test_twelve_hour_clocks() -> None:
    assert time_in_any_format(b"2026-11-29 08:00:01 PM", UTC) == EIGHT + 12 * HOUR
    assert time_in_any_format(b"2026-11-29 12:00:01 am", UTC) == EIGHT - 8 * HOUR
    assert time_in_any_format(b"2026-11-29 12:00:01 PM", UTC) == EIGHT + 4 * HOUR


def test_equal_day_and_month_are_not_ambiguous() -> None:
    assert time_in_any_format(b"05/05/2026 08:00:00", UTC) == time_in_any_format(b"2026-05-05 08:00:00", UTC)


@pytest.mark.parametrize(
    "text",
    [
        b"03/04/2026 08:00:01", b"11-29 08:00:01", b"Nov 29 08:00:01", b"08:00:01", b"29/11/26 08:00:01",
        b"2026-13-29 08:00:01", b"30/13/2026 08:00:01", b"29/Foo/2026 08:00:01", b"2026-11-29 25:00:01",
        b"99999999999", b"", b"nonsense", b"\xff",
    ],
)  # fmt: skip
def test_an_ambiguous_time_is_not_guessed(text: bytes) -> None:
    assert time_in_any_format(text, UTC) is None
