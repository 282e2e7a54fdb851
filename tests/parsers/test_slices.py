"""Slices of event time: which records belong to which span, whatever the windows."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import Batch
from parsers.dify import Dify
from parsers.envelope import Docker
from parsers.nginx import Nginx
from parsers.parser import Parser
from parsers.slices import Slice, Slicer, SpanOf
from tests.parsers.laws import seconds_of, summed

TIMED = Nginx(format='$msec "$request" $status')
NOW = 2_000_000 * 10**9


def slices(log: bytes, span_of: SpanOf, *, parser: Parser = TIMED, size: int = 1 << 20, now: int = NOW) -> list[Slice]:
    parses = Counter[str]()

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        parses["bytes"] += len(window)
        return parser.parse_part(window, final, skip, 1 << 20)

    slicer, begin, skip, found = Slicer(parse, span_of), 0, (), []
    while begin < len(log):
        window = log[begin : begin + size]
        parts = list(slicer.slices(window, begin + size >= len(log), skip, now))
        assert parts or size < len(log)
        size = size if parts else 2 * size
        for part in parts:
            begin, skip = begin + part.batch.consumed, part.batch.skip
        found += parts
    assert parses["bytes"] < 100 * len(log) + 1_000_000
    return found


def line(at: float | None) -> bytes:
    return b"a traceback\n" if at is None else b'%.3f "GET / HTTP/1.1" 200\n' % at


def per_span(found: list[Slice], span_of: SpanOf) -> dict[int | None, int]:
    """Return the number of lines by the beginning of their span."""
    lines: Counter[int | None] = Counter()
    for part in found:
        lines[None if part.at is None else span_of(part.at)[0] // 10**9] += part.batch.lines
    return dict(lines)


@settings(max_examples=3 * settings.default.max_examples)
@given(
    times=st.lists(st.integers(100, 160) | st.none(), max_size=60),
    ordered=st.booleans(),
    width=st.sampled_from([1, 7, 1000]),
    size=st.integers(30, 3000),
)
def test_the_running_maximum_decides(times: list[int | None], ordered: bool, width: int, size: int) -> None:
    if ordered:
        times = sorted(time for time in times if time is not None)
    span_of, reached, expected = seconds_of(width), None, Counter[int | None]()
    for at in times:
        if at is not None and (reached is None or at > reached):
            reached = at
        expected[None if reached is None else reached - reached % width] += 1
    log = b"".join(map(line, times))
    assert per_span(slices(log, span_of, size=size), span_of) == dict(expected)


def test_a_time_far_ahead_moves_nothing() -> None:
    """One line says next month, one says a time after the clock. Both are slices of their own."""
    span_of, times = seconds_of(86_400), [100.0 + number for number in range(50)]
    times[20], times[40] = 30 * 86_400.0, 9e9
    for size in (400, 1 << 20):
        found = slices(b"".join(map(line, times)), span_of, size=size)
        assert [part.batch.lines for part in found if part.is_doubtful] == [1, 1]
        assert per_span(found, span_of) == {0: 50}


def test_a_pause_of_days_is_believed() -> None:
    days = [0.5, 0.6, 4.1, 4.2, 9.9]
    span_of = seconds_of(86_400)
    found = slices(b"".join(line(day * 86_400) for day in days), span_of)
    assert not any(part.is_doubtful for part in found)
    assert per_span(found, span_of) == {0: 2, 4 * 86_400: 2, 9 * 86_400: 1}


def test_a_first_line_from_the_future_is_not_believed() -> None:
    span_of = seconds_of(86_400)
    found = slices(line(15 * 86_400) + b"".join(line(100 + number) for number in range(40)), span_of)
    assert [(part.batch.lines, part.is_doubtful) for part in found] == [(1, True), (40, False)]


def test_a_line_of_1970_is_behind_and_moves_nothing() -> None:
    span_of, times = seconds_of(86_400), [900_000.0 + number for number in range(50)]
    times[0:0], times[30] = [5.0], 1.0
    for size in (400, 1 << 20):
        found = slices(b"".join(map(line, times)), span_of, size=size)
        assert [(part.batch.lines, part.at) for part in found if part.is_behind] == [(1, 900_028 * 10**9)]
        assert per_span(found, span_of) == {864_000: 50, 0: 1}


@pytest.mark.parametrize("size", [300, 1000, 1 << 20])
@pytest.mark.parametrize("back", [17 * 3600, 86_400, 800_000])
def test_behind_a_jump_back_the_log_begins_anew(size: int, back: int) -> None:
    """The clock was set, or archives were concatenated in the wrong order."""
    span_of = seconds_of(86_400)
    times = [900_000.0 + number for number in range(100)]
    log = b"".join(map(line, times)) + b"".join(line(at - back) for at in times)
    days = Counter(int(at) // 86_400 * 86_400 for at in [*times, *(at - back for at in times)])
    found = slices(log, span_of, size=size)
    assert per_span(found, span_of) == dict(days)
    assert not any(part.is_behind or part.is_doubtful for part in found)


def test_two_clocks_in_one_log_cost_a_bounded_search() -> None:
    times = [900_000.0 + number - (600_000 if number % 2 else 0) for number in range(4000)]
    found = slices(b"".join(map(line, times)), seconds_of(1000), size=1 << 18)
    assert sum(part.batch.lines for part in found) == 4000


def test_many_times_that_are_not_believed_cost_a_bounded_search() -> None:
    times = [9e9 if number % 2 else 100.0 + number for number in range(4000)]
    found = slices(b"".join(map(line, times)), seconds_of(1000), size=1 << 18)
    assert sum(part.batch.lines for part in found) == 4000


def test_a_window_longer_than_a_jump_back_costs_one_more_parse() -> None:
    """A quiet log has hours in one window, so its batch does not say whether the clock was set back in it."""
    log, parsed = b"".join(line(at) for at in range(1_000_000, 1_080_000, 100)), Counter[str]()

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        parsed["bytes"] += len(window)
        return TIMED.parse(window, final)

    slicer = Slicer(parse, lambda at: (0, NOW), reached=1_000_000 * 10**9)
    found = list(slicer.slices(log, True, (), NOW, TIMED.parse(log, True)))
    assert sum(each.batch.lines for each in found) == 800
    assert parsed["bytes"] < 1.1 * len(log)


@pytest.mark.parametrize("lines_per_span", [1, 10, 1250])
def test_slices_cost_a_few_parses(lines_per_span: int) -> None:
    lines = max(1500, 2 * lines_per_span)
    log = b"".join(line(100_000 + number / lines_per_span) for number in range(lines))
    size, parsed = 1 << 14, Counter[str]()

    def parse(window: bytes, final: bool, skip: tuple[str, ...]) -> Batch:
        parsed["bytes"] += len(window)
        parsed["parses"] += 1
        return TIMED.parse(window, final)

    slicer, begin, found = Slicer(parse, seconds_of(1)), 0, []
    while begin < len(log):
        for part in slicer.slices(log[begin : begin + size], begin + size >= len(log), (), NOW):
            begin += part.batch.consumed
            found.append(part)
    assert sum(part.batch.lines for part in found) == lines
    assert parsed["bytes"] < 6 * len(log) or lines_per_span == 1
    assert parsed["parses"] < 60 * (lines / lines_per_span + len(log) / size)


def test_records_of_several_lines_are_not_cut() -> None:
    def docker(stamp: int, text: str, end: str = "\\\\n") -> bytes:
        return b'{"log":"%s%s","stream":"stdout","time":"2026-11-23T08:%02d:00.5Z"}\n' % (
            text.encode(), end.replace("\\\\", "\\").encode(), stamp,
        )  # fmt: skip

    parser = Docker(parser=Dify())
    log = b"".join(
        docker(minute, f"2026-11-23 08:{minute:02}:00.1 ERROR [a] [x.py:1]  - o", "") + docker(minute, "ops")
        for minute in range(20)
    )
    whole = parser.parse(log, final=True)
    for size in (150, 500, 1 << 20):
        found = slices(log, seconds_of(60), parser=parser, size=size, now=2**62)
        assert summed(part.batch for part in found) == summed([whole])
        assert set(per_span(found, seconds_of(60)).values()) == {2}
