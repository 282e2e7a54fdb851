"""Event times: what is none is None."""

from collections.abc import Callable

import pytest

from parsers.access.rows import _epoch_seconds
from parsers.values.times import LAST, common_log, iso, zone

UTC = zone("UTC")


@pytest.mark.parametrize(
    "at",
    [
        lambda: iso(b"9999-12-31T23:59:59.999Z", UTC),
        lambda: iso(b"2262-04-11 23:47:16", UTC),
        lambda: iso(b"0001-01-01 00:00:00", UTC),
        lambda: iso(b"0001-01-01 00:00:00", zone("Asia/Shanghai")),
        lambda: common_log(b"31/Dec/9999:23:59:59 -0100"),
        lambda: _epoch_seconds(b"99999999999.999", UTC),
    ],
)
def test_a_time_that_no_64_bits_hold_is_none(at: Callable[[], int | None]) -> None:
    assert at() is None


def test_the_last_moments_are_times() -> None:
    assert iso(b"2261-01-01T00:00:00Z", UTC) == 9_183_110_400_000_000_000 < LAST
    assert _epoch_seconds(b"9183110400.001", UTC) == 9_183_110_400_001_000_000
