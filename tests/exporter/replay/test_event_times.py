"""The first and last event times of a log."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.replay.event_times import EventTimes, first_time
from parsers.batch import Batch
from parsers.dify import Dify
from parsers.values.numbers import SECOND

PARSER = Dify()
LINE = b"2026-11-23 08:53:%02d.1 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 3.2 \n"


@settings(max_examples=settings.default.max_examples // 2)
@given(st.integers(0, 300), st.integers(0, 20))
def test_the_first_time_is_that_of_the_first_line_that_has_one(before: int, behind: int) -> None:
    log = b"banner\n" * before + LINE % 7 + (LINE % 3) * behind
    assert first_time(PARSER, log) == PARSER.parse(LINE % 7).last_at


@pytest.mark.parametrize("log", [b"", b"banner", b"banner\n" * 50])
def test_a_log_without_a_time_has_none(log: bytes) -> None:
    assert first_time(PARSER, log) is None


def test_the_first_line_costs_one_small_parse() -> None:
    sizes: list[int] = []

    class Counting(Dify, frozen=True):
        def parse(self, window: bytes, final: bool = False) -> Batch:
            sizes.append(len(window))
            return Dify.parse(self, window, final)

    first_time(Counting(), LINE % 7 * 1000)
    assert sizes == [len(LINE % 7)]


def test_times_of_several_logs() -> None:
    times = EventTimes()
    assert str(times) == "no event has a time"
    times.begin(PARSER, LINE % 7)
    for at in (9, None, 5, 8):
        times.add(Batch(last_at=None if at is None else at * SECOND))
    assert str(times) == "events from 1970-01-01T00:00:05Z to 1970-01-01T00:00:09Z"
