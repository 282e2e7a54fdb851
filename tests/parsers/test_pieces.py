"""Records in pieces: which are dropped, which are skipped, and how many bytes are parsed for them."""

import io
import json
import random
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.replay.event_times import Span
from exporter.replay.feed import Part, feed
from parsers.batch import Batch, Request
from parsers.dify import Dify
from parsers.envelope import Cri, Docker, Envelope, Json
from parsers.lines import by_line
from parsers.parser import Parser
from tests.parsers.laws import batches_of, in_parts, summed

ACCESS = "2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1 "
INFO = Request("GET", "/v1/info", "200", handler_durations=(1_000_000,))
LIMIT = 600
TIME = "2026-11-23T08:53:08Z"


def cri(content: str, stream: str = "stdout", end: bool = True) -> bytes:
    return f"{TIME} {stream} {'F' if end else 'P'} {content}\n".encode()


def shipped(content: str, container: str, end: bool = True) -> bytes:
    """Return a piece as Fluent Bit's parser `cri` writes it."""
    record = {"message": content, "stream": "stdout", "logtag": "F" if end else "P"}
    return json.dumps(record | {"kubernetes": {"docker_id": container}}).encode() + b"\n"


def docker(text: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream}).encode() + b"\n"


class Read(Parser, frozen=True):
    """A parser that observes each line beginning with `a`."""

    def parse(self, window: bytes, final: bool = False) -> Batch:
        return by_line(window, final, lambda line: ((), None) if line.startswith(b"a") else "format")


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from(["a", "b", "x" * 90, "y" * 300, "z" * 700]),
        st.booleans(),
    ),
    max_size=30,
)


def expected(pieces: list[tuple[str, str, bool]], lines: list[bytes]) -> dict[str, int]:
    """Return the records that a reader of the whole log finds."""
    counts = {"observed": 0, "format": 0, "too_long": 0, "ignored": 0}
    begun: dict[str, tuple[int, str, int]] = {}
    at = 0
    for (stream, content, end), line in zip(pieces, lines, strict=True):
        if len(line) > LIMIT:
            counts["too_long"] += 1
        else:
            begin, before, count = begun.pop(stream, (at, "", 0))
            begun[stream] = begin, before + content, count + 1
            if end:
                _end(counts, begun.pop(stream), at + len(line))
        at += len(line)
    for record in begun.values():
        _end(counts, record, at)
    return counts


def _end(counts: dict[str, int], record: tuple[int, str, int], end: int) -> None:
    begin, content, count = record
    counts["ignored"] += count - 1
    counts["too_long" if end - begin > LIMIT else "observed" if content.startswith("a") else "format"] += 1


def outcome(batches: list[Batch]) -> dict[str, int]:
    unparsed = [batch.unparsed for batch in batches]
    return {
        "observed": sum(batch.observed for batch in batches),
        "format": sum(each.get("format", 0) for each in unparsed),
        "too_long": sum(each.get("too_long", 0) for each in unparsed),
        "ignored": sum(batch.ignored for batch in batches),
    }


@settings(max_examples=3 * settings.default.max_examples)
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 12_000), max_size=12))
def test_every_record_is_counted_once_however_the_log_is_cut(
    pieces: list[tuple[str, str, bool]], cuts: list[int]
) -> None:
    lines = [cri(content, stream, end) for stream, content, end in pieces]
    log = b"".join(lines)
    parser = Cri(parser=Read())
    batches = in_parts(parser, log, [cut for cut in cuts if cut < len(log)], LIMIT)
    assert outcome(batches) == expected(pieces, lines)
    assert summed(batches) == summed([parser.parse_part(log, True, (), LIMIT)] if log else [])
    assert summed(batches) == summed(batches_of(feed(io.BytesIO(log).read, parser, LIMIT)))
    assert sum(batch.lines for batch in batches) == len(lines)


@given(pieces=PIECES, at=st.integers(0, 12_000), block=st.integers(1, 900))
def test_a_part_of_a_log_continues_where_the_previous_part_ended(
    pieces: list[tuple[str, str, bool]], at: int, block: int
) -> None:
    """A replay in several processes does this, and an input that returns few bytes at once."""
    log = b"".join(cri(content, stream, end) for stream, content, end in pieces)
    parser = Cri(parser=Read())
    at = log.find(b"\n", at) + 1
    stream = io.BytesIO(log[:at])
    first = batches_of(feed(lambda size: stream.read(min(size, block)), parser, LIMIT, part=Part(ended=False)))
    begin = sum(batch.consumed for batch in first)
    skip = first[-1].skip if first else ()
    rest = batches_of(feed(io.BytesIO(log[begin:]).read, parser, LIMIT, part=Part(skip, first=False)))
    assert summed([*first, *rest]) == summed(batches_of(feed(io.BytesIO(log).read, parser, LIMIT)))


def test_a_record_that_is_too_long_is_one_unparsed_line() -> None:
    log = cri(ACCESS) + cri("x", end=False) * 30_000 + cri("GET /v1/forged 200 1 ") + cri(ACCESS)
    batches = batches_of(feed(io.BytesIO(log).read, Cri(parser=Dify()), 1 << 18))
    assert outcome(batches) == {"observed": 2, "format": 0, "too_long": 1, "ignored": 30_000}
    assert {batch.examples["too_long"] for batch in batches if batch.unparsed} == {cri("x", end=False).rstrip()}


def test_lines_between_the_pieces_of_a_dropped_record_count() -> None:
    one = cri("x" * 50, "stderr", end=False) + cri(ACCESS)
    log = one * 40 + cri("end", "stderr") + cri(ACCESS, "stderr")
    batches = batches_of(feed(io.BytesIO(log).read, Cri(parser=Dify()), LIMIT))
    assert outcome(batches) == {"observed": 41, "format": 0, "too_long": 1, "ignored": 40}


def test_records_that_overlap_without_end_all_count() -> None:
    """There is no position without an open record, and still nothing is lost."""
    chain = cri("a", end=False) + b"".join(
        cri("a", stream, end) for _ in range(50) for stream, end in [("stderr", False), ("stdout", True), ("stdout", False), ("stderr", True)]
    )  # fmt: skip
    batches = batches_of(feed(io.BytesIO(chain).read, Cri(parser=Read()), LIMIT))
    assert outcome(batches) == {"observed": 101, "format": 0, "too_long": 0, "ignored": 100}


def test_the_skip_of_a_batch_is_part_of_the_position() -> None:
    """After a restart inside a dropped record, its rest is neither a record nor an unparsed line."""
    parser = Cri(parser=Dify())
    first = parser.parse_part(cri("x" * 300, end=False) * 2, False, (), LIMIT)
    assert (first.lines, first.unparsed, first.skip) == (2, {"too_long": 1}, ("stdout",))
    rest = cri(ACCESS, end=False) + cri(ACCESS, "stderr") + cri(ACCESS) + cri(ACCESS)
    goes_on = parser.parse_part(rest, False, first.skip, LIMIT)
    assert (goes_on.lines, goes_on.observed, goes_on.ignored, goes_on.skip) == (4, 2, 2, ())
    never_ends = parser.parse_part(cri("x", end=False), True, first.skip, LIMIT)
    assert (never_ends.lines, never_ends.ignored, never_ends.skip) == (1, 1, ())


def test_containers_of_one_shipper_are_skipped_separately() -> None:
    log = b"".join(
        [
            shipped("x" * 300, "one", end=False),
            shipped(ACCESS[:30], "two", end=False),
            shipped("x" * 100, "one", end=False),
            shipped(ACCESS[30:], "two"),
            shipped(ACCESS, "one"),
            shipped(ACCESS, "one"),
        ]
    )
    batches = in_parts(Json(parser=Dify()), log, range(0, len(log), 97), LIMIT)
    assert outcome(batches) == {"observed": 2, "format": 0, "too_long": 1, "ignored": 3}


def test_the_names_of_streams_in_a_position_are_few() -> None:
    """The file may name any number of streams."""
    many = [shipped("x", str(number), end=False) for number in range(500)]
    batch = Json(parser=Dify()).parse_part(b"".join(many), False, (), LIMIT)
    assert 0 < len(batch.skip) <= 64
    assert max(map(len, batch.skip)) <= 2
    names = [docker("x" * 16_384, f"stream {number}") for number in range(5)]
    assert Docker(parser=Dify()).parse_part(b"".join(names), False, (), 20_000).skip == ("",)


@pytest.mark.parametrize("final", [False, True])
def test_a_physical_line_that_is_too_long_ends_no_record(final: bool) -> None:
    log = cri("a", end=False) + cri("x" * LIMIT) + cri("a") + cri("a")
    batches = in_parts(Cri(parser=Read()), log, [], 2 * LIMIT) if final else batches_of(
        feed(io.BytesIO(log).read, Cri(parser=Read()), LIMIT)
    )  # fmt: skip
    assert outcome(batches)["too_long"] == (0 if final else 2)


# --- how many bytes are parsed ---

WORK = [0]


class CountedCri(Cri, frozen=True):
    def piece(self, line: bytes) -> Any:
        WORK[0] += len(line) + 1
        return Cri.piece(self, line)


class CountedDocker(Docker, frozen=True):
    def piece(self, line: bytes) -> Any:
        WORK[0] += len(line) + 1
        return Docker.piece(self, line)


class CountedJson(Json, frozen=True):
    def piece(self, line: bytes) -> Any:
        WORK[0] += len(line) + 1
        return Json.piece(self, line)


def _one_byte(size: int) -> Iterator[bytes]:
    return cycle([cri("x", end=False)])


def _two_streams(size: int) -> Iterator[bytes]:
    return cycle([cri("x", end=False), cri("x", "stderr", end=False)])


def _chain(size: int) -> Iterator[bytes]:
    return cycle([cri("a", "stderr", end=False), cri("a"), cri("a", end=False), cri("a", "stderr")])


def _just_fits(size: int) -> Iterator[bytes]:
    """Return records of nearly the maximum length, mixed in two streams."""
    rng = random.Random(7)
    while True:
        yield cri("x" * rng.randrange(200), rng.choice(["stdout", "stderr"]), rng.random() < 0.01)


def _docker_pieces(size: int) -> Iterator[bytes]:
    return cycle([docker("x" * 16_384), docker("x" * 16_384, "stderr"), docker("GET /v1/info 200 1 \n", "")])


def _many_containers(size: int) -> Iterator[bytes]:
    return (shipped("x", str(number % 1000), end=False) for number in range(1 << 40))


SHAPES: list[tuple[Callable[..., Envelope], Callable[[int], Iterator[bytes]], int]] = [
    (CountedCri, _one_byte, 20_000),
    (CountedCri, _two_streams, 20_000),
    (CountedCri, _chain, 20_000),
    (CountedCri, _just_fits, 20_000),
    (CountedDocker, _docker_pieces, 200_000),
    (CountedJson, _many_containers, 20_000),
]


@pytest.mark.parametrize(("envelope", "shape", "limit"), SHAPES, ids=[shape.__name__ for _, shape, _ in SHAPES])
def test_each_byte_is_parsed_a_few_times(
    envelope: Callable[..., Envelope], shape: Callable[[int], Iterator[bytes]], limit: int
) -> None:
    """This holds for a log of any length, and also for a replay of a time range."""
    for size in (4 * limit, 16 * limit):
        lines, length = [], 0
        for line in shape(size):
            lines.append(line)
            length += len(line)
            if length > size:
                break
        log = b"".join(lines)
        WORK[0] = 0
        batches = batches_of(feed(io.BytesIO(log).read, envelope(parser=Dify()), limit))
        assert WORK[0] <= 3 * len(log)
        assert sum(batch.consumed for batch in batches) == len(log)


def test_a_record_of_many_pieces_is_parsed_a_few_times_in_a_span_of_time() -> None:
    log = b"".join(islice(_one_byte(0), 4000)) + cri(ACCESS) + cri(ACCESS)
    WORK[0] = 0
    batches = batches_of(
        feed(io.BytesIO(log).read, CountedCri(parser=Dify()), 1 << 20, span_of=Span(since=0).boundaries)
    )
    assert WORK[0] <= 60 * len(log)
    assert sum(batch.lines for batch in batches) == 4002
