"""Records in pieces, as the tail reads them: what is dropped, where a restart continues, and how much is parsed."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from exporter.replay.feed import feed
from parsers.batch import Failure
from parsers.envelope import Cri, Docker
from tests.exporter.reader import Lines, Reader, append
from tests.parsers.laws import batches_of

LIMIT = 2000
WORK = [0, 0]


class CountedCri(Cri, frozen=True):
    """Counts the parses, and the bytes that were parsed."""

    def piece(self, line: bytes) -> Any:
        WORK[1] += len(line) + 1
        return Cri.piece(self, line)

    def parse_part(self, window: bytes, final: bool, skip: tuple[str, ...], line_length: int) -> Any:
        WORK[0] += 1
        return Cri.parse_part(self, window, final, skip, line_length)


def cri(content: str, stream: str = "stdout", end: bool = True) -> bytes:
    return f"2026-11-23T08:53:08Z {stream} {'F' if end else 'P'} {content}\n".encode()


def docker(text: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream}).encode() + b"\n"


def reader_of(path: Path, parser: Any = None, line_length: int = LIMIT) -> Reader:
    WORK[:] = [0, 0]
    return Reader(path, parser=parser or CountedCri(parser=Lines()), line_length=line_length)


def test_a_restart_goes_on_inside_a_dropped_record(tmp_path: Path) -> None:
    """At each piece: its rest is no record and no further unparsed line."""
    log = tmp_path / "log"
    reader = reader_of(log)
    append(log, cri("before"))
    for _ in range(100):
        append(log, cri("x" * 30, end=False))
        reader.poll()
        reader.restart()
    append(log, cri("GET /v1/forged 200 1") + cri("other", "stderr") + cri("behind"))
    reader.poll()
    assert reader.ledger.lines == ["before", "other", "behind"]
    assert reader.ledger.unparsed == ["too_long"]
    assert [position.skip_streams for position in reader.ledger.kept.values()] == [()]


def test_a_record_that_is_not_too_long_waits_for_its_end_over_restarts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = reader_of(log)
    for _ in range(20):
        append(log, cri("x", end=False))
        reader.poll()
        reader.restart()
    append(log, cri("y"))
    assert reader.poll() == ["x" * 20 + "y"]
    assert reader.ledger.unparsed == []


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_two_streams_in_any_order(tmp_path: Path, seed: int) -> None:
    """However much is written at once, and whenever the exporter restarts."""
    chance = random.Random(seed)
    log = tmp_path / "log"
    reader = reader_of(log, line_length=600)
    queues: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for number in range(60):
        stream = chance.choice(["stdout", "stderr"])
        pieces = [chance.choice(["", "a", "b" * 40]) for _ in range(chance.randrange(5))]
        queues[stream] += [cri(piece, stream, end=False) for piece in pieces] + [cri(f"end {number}", stream)]
    text = b""
    while rest := [queue for queue in queues.values() if queue]:
        text += chance.choice(rest[:1] if chance.random() < 0.8 else rest).pop(0)
    batches = batches_of(feed(io.BytesIO(text).read, Cri(parser=Lines()), 600))
    while text:
        size = chance.randrange(1, 1500)
        append(log, text[:size])
        text = text[size:]
        reader.poll()
        if chance.random() < 0.2:
            reader.restart()
    expected = [record.kind for batch in batches for record in batch.records if isinstance(record, Failure)]
    assert sorted(reader.ledger.lines) == sorted(expected)
    assert (
        len(reader.ledger.unparsed) == sum(batch.unparsed.get("too_long", 0) for batch in batches) == 60 - len(expected)
    )


def test_partials_that_never_end_and_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = reader_of(log)
    append(log, cri("x", end=False) * 200 + cri("one", "stderr"))
    reader.poll()
    log.rename(tmp_path / "log.1")
    append(log, cri("two", "stderr"))
    reader.wait(10)
    assert reader.ledger.lines == ["one", "two"]
    assert reader.ledger.unparsed == ["too_long"]
    assert reader.ledger.lost_bytes == 0


def test_dockers_pieces_of_two_streams_over_many_windows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    reader = reader_of(log, Docker(parser=Lines()), line_length=100_000)
    piece = "x" * 16_384
    for number in range(60):
        append(log, docker(piece) + docker(piece, "stderr") + docker(f"{number}\n", ""))
        reader.poll()
    append(log, docker("end\n", "stderr") + docker("end\n") + docker("behind\n"))
    reader.poll()
    assert reader.ledger.lines == [*map(str, range(60)), "behind"]
    assert reader.ledger.unparsed == ["too_long", "too_long"]


@pytest.mark.parametrize(
    "lines",
    [
        [cri("x", end=False)],
        [cri("x", end=False), cri("x", "stderr", end=False)],
        [cri("a", "stderr", end=False), cri("a"), cri("a", end=False), cri("a", "stderr")],
        [cri("x", end=False)] * 9 + [cri("y")],
    ],
    ids=["one stream", "two streams", "a chain", "records"],
)
@pytest.mark.parametrize("size", [100_000, 400_000])
def test_each_byte_is_parsed_a_few_times(tmp_path: Path, lines: list[bytes], size: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(lines) * (size // len(b"".join(lines))))
    reader = reader_of(log, line_length=10_000)
    reader.poll()
    assert WORK[1] <= 8 * size
    assert reader.source.lag <= 10_000


def test_a_record_that_is_written_piece_by_piece_is_not_parsed_for_each(tmp_path: Path) -> None:
    """Each write wakes the source, and the clock hardly moves meanwhile."""
    log = tmp_path / "log"
    reader = reader_of(log, line_length=1 << 20)
    piece = cri("x" * 1000, end=False)
    append(log, piece * 70)
    reader.poll()
    WORK[:] = [0, 0]
    for _ in range(400):
        append(log, piece)
        reader.source.turn([str(log)])
    assert WORK[0] <= 12
    append(log, cri("end"))
    assert reader.poll() == ["x" * 1000 * 470 + "end"]
