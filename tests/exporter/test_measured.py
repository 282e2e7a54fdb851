"""What other tools were measured to get wrong, with the same input; each named after its scenario.

The inputs are those that made Pygtail 0.14, mtail 3.0 and watchdog 7.1 lose, repeat or tear lines.
"""

import os
import resource
import shutil
from pathlib import Path

import pytest
from msgspec import structs

from exporter.tail.position import Fingerprint
from tests.exporter.reader import Reader, age, append


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a3_nine_hundred_good_lines_before_a_bad_byte(log: Path) -> None:
    """Pygtail: 930 lines, an exception, no offset; the same 930 at each run."""
    append(log, b"good\n" * 930 + b"\xff\xfe\n" + b"good\n" * 69)
    reader = Reader(log)
    assert len(reader.poll()) == 1000
    reader.restart()
    assert reader.poll() == []


def test_a4_half_a_character_waits(log: Path) -> None:
    """Pygtail: UnicodeDecodeError, unexpected end of data."""
    reader = Reader(log)
    append(log, b"one\n\xe2\x82")
    assert reader.poll() == ["one"]
    append(log, b"\xac\n")
    assert reader.poll() == ["\xe2\x82\xac"]


def test_a5_a_carriage_return_at_the_end(log: Path) -> None:
    """Pygtail: delivered as a line, offset 1.46e48, then the whole file again."""
    append(log, b"one\ntwo\r")
    reader = Reader(log)
    assert reader.poll() == ["one"]
    reader.restart()
    append(log, b"\nthree\n")
    assert reader.poll() == ["two\r", "three"]


def test_a5_a_line_end_split_over_two_writes(log: Path) -> None:
    """Pygtail: one, one, two."""
    append(log, b"one\r")
    reader = Reader(log)
    assert reader.poll() == []
    append(log, b"\ntwo\n")
    assert reader.poll() == ["one\r", "two"]


def test_a6_two_hundred_mebibytes_without_a_newline(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pygtail: 414 MB of memory, and 0.4 s at each poll thereafter."""
    with log.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    line_length = 1 << 20
    reader = Reader(log, line_length=line_length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reader.poll() == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 4 * line_length
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(size) or real(file, size, at))
    assert reader.wait(10) == []
    assert sum(read) < 10 * 1024
    append(log, "tail\ngood\n")
    assert reader.poll() == ["good"]
    assert reader.ledger.unparsed == ["too_long"]


def test_a6_a_crash_in_the_middle_of_a_too_long_line(log: Path) -> None:
    """Filebeat: wrong offset, sent again; here the position says that the rest is to be passed over."""
    append(log, b"x" * 5000)
    reader = Reader(log, line_length=1000)
    assert reader.source.turn()
    assert reader.ledger.unparsed == ["too_long"]
    reader.restart()
    append(log, b"x\nFORGED? no\n")
    assert reader.poll() == ["FORGED? no"]
    assert reader.ledger.unparsed == ["too_long"]


def test_a12_a_million_lines_at_once(log: Path) -> None:
    log.write_bytes(b"".join(b"%d\n" % n for n in range(1_000_000)))
    reader = Reader(log)
    assert reader.source.turn()
    assert reader.source.lag > 6_000_000
    assert reader.source.backlog == reader.source.lag
    reader.poll()
    assert len(set(reader.ledger.lines)) == len(reader.ledger.lines) == 1_000_000
    assert reader.source.lag == reader.source.backlog == 0


def test_c33_copytruncate_while_down_is_no_power_loss_where_there_is_a_copy(log: Path) -> None:
    """All lines alike: only the copy shows whether a file was started again or lost its end."""
    append(log, "the same line\n" * 100)
    reader = Reader(log)
    reader.poll()
    reader.stop()
    shutil.copyfile(log, log.with_name("log.1"))
    log.write_text("the same line\n" * 40)
    reader.start()
    assert len(reader.wait(3)) == 40


def test_c40_a_clock_that_was_set_back(log: Path) -> None:
    """The rotated file's mtime lies before what was last known of it: its inode and its bytes tell it."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, "a2\n")
    age(log, 3600)
    log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    age(log, 3600)
    reader.start()
    assert reader.wait(2) == ["a2", "b1"]


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 10**18},
        {"offset": 3},
        {"inode": 1},
        {"tail": Fingerprint(b"x" * 16, 256)},
        {"head": Fingerprint(b"x" * 16, 255)},
    ],
)
def test_c34_impossible_positions_never_tear_a_line(log: Path, change: dict[str, object]) -> None:
    """Pygtail: five of eight damaged offset files raise until they are deleted, one gives a torn line."""
    lines = [f"line {n}" for n in range(100)]
    append(log, "".join(f"{line}\n" for line in lines))
    reader = Reader(log)
    reader.poll()
    ((key, position),) = reader.ledger.kept.items()
    reader.ledger.kept[key] = structs.replace(position, **change)
    reader.restart()
    found = reader.wait(10)
    append(log, "new\n")
    assert reader.poll() == ["new"]
    assert set(found) <= set(lines)
