"""A stream through a parser: each line once, whatever the windows, and one that is too long is one."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.replay import feed as module
from exporter.replay.event_times import ALWAYS, Span
from exporter.replay.feed import feed
from parsers.batch import Batch
from parsers.envelope import Cri
from parsers.nginx import Nginx
from parsers.slices import later
from tests.parsers.laws import batches_of, summed

PARSER = Nginx(format='"$request" $status')
CRI = Cri(parser=PARSER)
LIMIT = 40
LINES = st.sampled_from(
    [b"", b"x", b'"GET / HTTP/1.1" 200', b"y" * (LIMIT - 2), b"y" * (LIMIT - 1), b"y" * LIMIT, b"z" * 500]
)
SPANS = st.sampled_from([ALWAYS, Span(since=3 * 10**9), Span(until=3 * 10**9), Span(since=2 * 10**9, until=5 * 10**9)])
TIMED = Nginx(format='$msec "$request" $status')


def expected(lines: list[bytes], ended: bool) -> list[Batch]:
    found = []
    for number, line in enumerate(lines):
        text = line + b"\n" if ended or number + 1 < len(lines) else line
        if len(text) > LIMIT or (len(text) == LIMIT and not text.endswith(b"\n")):
            found.append(Batch(len(text), 1, unparsed={"too_long": 1}))
        else:
            found.append(PARSER.parse(text, final=True))
    return found


@settings(max_examples=2 * settings.default.max_examples)
@given(lines=st.lists(LINES, max_size=20), ended=st.booleans(), block=st.integers(1, 300), span=SPANS)
def test_each_line_is_read_once(lines: list[bytes], ended: bool, block: int, span: Span) -> None:
    log = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "_SKIP_BLOCK", block)
        found = batches_of(feed(io.BytesIO(log).read, PARSER, LIMIT, span_of=span.boundaries))
    assert summed(found) == summed(expected(lines, ended))
    assert sum(batch.consumed for batch in found) == len(log)


@given(
    lines=st.lists(st.sampled_from([(b"stdout", b"P"), (b"stdout", b"F"), (b"stderr", b"P"), (b"stderr", b"F")])),
    ended=st.booleans(),
    block=st.integers(1, 300),
)
def test_records_of_several_lines_are_read_once(lines: list[tuple[bytes, bytes]], ended: bool, block: int) -> None:
    pieces = {b"P": b'"GET / ', b"F": b'HTTP/1.1" 200'}
    log = b"\n".join(b"2026-11-23T08:53:31Z %b %b %b" % (stream, tag, pieces[tag]) for stream, tag in lines)
    log += b"\n" if ended and lines else b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = batches_of(feed(io.BytesIO(log).read, CRI, 10_000))
    assert summed(found) == summed([CRI.parse(log, True)])


def test_a_window_ends_with_a_whole_line(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = list[bytes]()

    class Seen(Nginx, frozen=True):
        def parse(self, window: bytes, final: bool = False) -> Batch:
            windows.append(window)
            return Nginx.parse(self, window, final)

    monkeypatch.setattr(module, "BLOCK", 100)
    log = b'"GET / HTTP/1.1" 200\n' * 50
    assert sum(batch.lines for batch in batches_of(feed(io.BytesIO(log).read, Seen(format=PARSER.format), LIMIT))) == 50
    assert b"".join(windows) == log
    assert all(window.endswith(b"\n") for window in windows if window)


@settings(max_examples=2 * settings.default.max_examples)
@given(
    times=st.lists(st.integers(0, 6) | st.none(), max_size=30),
    ordered=st.booleans(),
    block=st.integers(40, 300),
    span=SPANS,
)
def test_what_lies_in_a_span_counts(times: list[int | None], ordered: bool, block: int, span: Span) -> None:
    """The running maximum of the times decides; a line without a time goes with the line before it."""
    if ordered:
        times = sorted(time for time in times if time is not None)
    reached, counted = None, []
    lines = [b"a traceback\n" if at is None else b'%d.000 "GET / HTTP/1.1" 200\n' % at for at in times]
    for at, line in zip(times, lines, strict=True):
        reached = later(reached, None if at is None else at * 10**9)
        counted += [TIMED.parse(line)] if span.contains(reached) else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = feed(io.BytesIO(b"".join(lines)).read, TIMED, LIMIT, span_of=span.boundaries)
        assert summed(each.batch for each in found if span.contains(each.at)) == summed(counted)


@pytest.mark.parametrize("nuls", [1, 100, 5000])
def test_a_hole_at_the_beginning_is_no_line(nuls: int) -> None:
    """A truncation in place leaves it, and it may be longer than any line."""
    lines = b'"GET / HTTP/1.1" 200\n' * 2
    batches = batches_of(feed(io.BytesIO(bytes(nuls) + lines).read, PARSER, LIMIT))
    assert summed(batches) == summed([Batch(consumed=nuls), PARSER.parse(lines)])


def test_nothing_but_a_hole() -> None:
    batches = batches_of(feed(io.BytesIO(bytes(5000)).read, PARSER, LIMIT))
    assert summed(batches) == summed([Batch(consumed=5000)])
