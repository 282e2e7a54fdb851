"""Event times: a text that is not a time gives None."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parsers.values.times import LATEST, Minutes, any_time, common_log, epoch_seconds, epoch_time, iso, zone

UTC = zone("UTC")


@pytest.mark.parametrize(
    "at",
    [
        lambda: iso(b"9999-12-31T23:59:59.999Z", UTC),
        lambda: iso(b"2262-04-11 23:47:16", UTC),
        lambda: iso(b"0001-01-01 00:00:00", UTC),
        lambda: iso(b"0001-01-01 00:00:00", zone("Asia/Shanghai")),
        lambda: common_log(b"31/Dec/9999:23:59:59 -0100"),
        lambda: epoch_seconds(b"99999999999.999", UTC),
    ],
)
def test_a_time_beyond_64_bits_is_none(at: Callable[[], int | None]) -> None:
    assert at() is None


def test_the_latest_times_are_accepted() -> None:
    assert iso(b"2261-01-01T00:00:00Z", UTC) == 9_183_110_400_000_000_000 < LATEST
    assert epoch_seconds(b"9183110400.001", UTC) == 9_183_110_400_001_000_000


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1795939201", 1_795_939_201_000_000_000),
        ("1795939201.327", 1_795_939_201_327_000_000),
        ("1795939201.3270802", 1_795_939_201_327_080_200),
        ("1.7959392013270802e+09", 1_795_939_201_327_080_200),
        ("1795939201327", 1_795_939_201_327_000_000),
        ("1795939201327.5", 1_795_939_201_327_500_000),
        ("1795939201327123", 1_795_939_201_327_123_000),
        ("1795939201327123456", 1_795_939_201_327_123_456),
        ("123456789", 123_456_789_000_000_000),
        ("[29/Nov/2026:08:00:01 +0000]", 1_795_939_201_000_000_000),
        ("29/Nov/2026:09:00:01 +0100", 1_795_939_201_000_000_000),
        ("29/Nov/2026:02:30:01 -0530", 1_795_939_201_000_000_000),
        ("29/Nov/2026:16:00:01.327", 1_795_939_201_327_000_000),
        ("2026-11-29T08:00:01Z", 1_795_939_201_000_000_000),
        ("[2026-11-29T08:00:01.327Z]", 1_795_939_201_327_000_000),
        ("2026-11-29 16:00:01,327", 1_795_939_201_327_000_000),
        ("2026/11/29 16:00:01", 1_795_939_201_000_000_000),
        ("2026-11-29 08:00:01.327 +0000 UTC", 1_795_939_201_327_000_000),
        ("20261129T080001Z", 1_795_939_201_000_000_000),
        ("20261129", 1_795_939_201_000_000_000 - (16 * 3600 + 1) * 1_000_000_000),
    ],
)
def test_usual_formats_are_parsed(text: str, at: int) -> None:
    """A time without a zone is in Shanghai, eight hours ahead of UTC."""
    assert any_time(text.encode(), zone("Asia/Shanghai")) == at


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "0", "12", "12345678", "99999999999", "9300000000", "9300000000000000000", "1e99", "-1795939201",
        "1795939201 ms", "1_795_939_201", "٣٣٣٣٣٣٣٣٣٣", "1,795,939,201", "NaN", "inf", "yesterday", "08:00:01",
        "31/Feb/2026:08:00:01 +0000", "29/Foo/2026:08:00:01 +0000", "29/Nov/2026:08:00:01 +9999", "29/Nov/2026:24:00:01 +0000",
        "29/Nov/2026 08:00:01", "Sun, 29 Nov 2026 08:00:01 GMT", "2026-11-29T08:00:01 CET", "2026-02-30T08:00:01Z", "1" * 5000,
    ],
)  # fmt: skip
def test_another_text_is_none(text: str) -> None:
    assert any_time(text.encode(), UTC) is None


def test_a_configured_time_since_the_epoch_may_be_small() -> None:
    assert [epoch_time(text) for text in (b"0", b"12", b"12.5")] == [0, 12_000_000_000, 12_500_000_000]
    assert [epoch_time(text) for text in (b"", b"x", b"-1", b"+1", b" 1", b"0x10", b"1" * 5000)] == [None] * 7


MOMENTS = st.integers(10**8 * 10**9, LATEST)


@given(at=MOMENTS, digits=st.integers(0, 9))
def test_every_time_is_parsed_in_each_unit(at: int, digits: int) -> None:
    """The fraction is kept to the nanosecond. The size of the number decides the unit, whatever the fraction."""
    seconds, rest = divmod(at, 10**9)
    fraction = f"{rest:09d}"[:digits]
    assert any_time(f"{seconds}.{fraction}".encode(), UTC) == seconds * 10**9 + int(fraction.ljust(9, "0"))
    assert any_time(b"%d" % seconds, UTC) == seconds * 10**9
    if at >= 10**11 * 10**6:
        assert any_time(b"%d" % (at // 10**6), UTC) == at // 10**6 * 10**6
        assert any_time(b"%d" % (at // 10**3), UTC) == at // 10**3 * 10**3
        assert any_time(b"%d" % at, UTC) == at


@given(at=MOMENTS, hours=st.integers(-12, 14))
def test_common_log_time_and_iso_8601_give_the_same_time(at: int, hours: int) -> None:
    at = at // 10**9 * 10**9
    moment = datetime.fromtimestamp(at // 10**9, timezone(timedelta(hours=hours)))
    month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[moment.month - 1]
    common = f"{moment.day:02d}/{month}/{moment:%Y:%H:%M:%S %z}".encode()
    assert any_time(common, UTC) == any_time(moment.isoformat().encode(), UTC) == at


@given(text=st.binary(max_size=60) | st.text("0123456789.eE+-:/ []TZNov,", max_size=40).map(str.encode))
def test_any_bytes_are_a_time_or_none(text: bytes) -> None:
    for at in (any_time(text, UTC), epoch_time(text), common_log(text)):
        assert at is None or -LATEST <= at <= LATEST


@given(
    times=st.lists(
        st.datetimes(datetime.fromisoformat("1973-01-01"), datetime.fromisoformat("2260-01-01")), max_size=5
    ),
    name=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Shanghai", "America/St_Johns", "Asia/Kathmandu"]),
    separator=st.sampled_from([" ", "T"]),
    end=st.sampled_from(["", "Z"]),
)
@example(times=[datetime.fromisoformat("2026-10-25 02:30")], name="Europe/Berlin", separator=" ", end="")
@example(times=[datetime.fromisoformat("2026-03-29 02:30")], name="Europe/Berlin", separator=" ", end="")
def test_a_time_by_its_minute_is_the_time(times: list[datetime], name: str, separator: str, end: str) -> None:
    """A minute has one offset, so its begin decides the time of all its seconds."""
    local = UTC if end else zone(name)
    minutes = Minutes(local)
    for time in times:
        text = (time.isoformat(separator, "milliseconds") + end).encode()
        assert minutes.at(text) == iso(text, local)
    assert minutes.at(b"2026-13-23 08:53:00.550") is None
