"""The tail: every measured failure of other tails, named after its scenario, and the promises in small."""

import os
import shutil
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def rotate(log: Path, name: str = "access.log.1", create: bool = True) -> Path:
    rotated = log.rename(log.with_name(name))
    if create:
        log.touch()
    return rotated


def test_a1_a_half_line_waits(log: Path) -> None:
    append(log, "abc")
    reader = Reader(log)
    assert reader.poll() == []
    append(log, "def\n")
    assert reader.poll() == ["abcdef"]


def test_a2_a_half_line_is_finished_after_a_restart(log: Path) -> None:
    append(log, "partial")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, " line\n")
    reader.start()
    assert reader.poll() == ["partial line"]


@pytest.mark.parametrize("inside", [b"\r", b"\x0b", b"\x0c", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff\xfe", b"\xe4\xbd"])
def test_a3_a4_a5_only_a_newline_ends_a_line(log: Path, inside: bytes) -> None:
    reader = Reader(log)
    append(log, b"one" + inside)
    assert reader.poll() == []
    append(log, inside + b"two\nthree\n")
    assert reader.poll() == [(b"one" + inside * 2 + b"two").decode("latin-1"), "three"]
    reader.restart()
    assert reader.poll() == []


def test_a6_a_line_too_long_is_one_unparsed_line_also_over_a_restart(log: Path) -> None:
    reader = Reader(log, line_length=1000)
    append(log, b"good\n" + b"x" * 2500)
    assert reader.poll() == ["good"]
    assert reader.ledger.unparsed == ["too_long"]
    reader.restart()
    append(log, b"x" * 700 + b"\nforged? no\n")
    assert reader.poll() == ["forged? no"]
    assert reader.ledger.unparsed == ["too_long"]


@pytest.mark.parametrize(("length", "lines"), [(999, ["x" * 998]), (1000, ["x" * 999]), (1001, [])])
def test_a6_the_limit_is_exact(log: Path, length: int, lines: list[str]) -> None:
    append(log, b"x" * (length - 1) + b"\n")
    reader = Reader(log, line_length=1000)
    assert reader.poll() == lines
    assert len(reader.ledger.unparsed) == 1 - len(lines)


def test_a6_a_line_beyond_the_live_window_is_read_whole(log: Path) -> None:
    append(log, b"x" * 900_000 + b"\nshort\n")
    assert [len(line) for line in Reader(log).poll()] == [900_000, 5]


def test_a7_empty_files_and_lines(log: Path) -> None:
    log.touch()
    reader = Reader(log)
    assert reader.poll() == []
    append(log, "\n\n")
    assert reader.poll() == ["", ""]


def test_c33_power_loss_goes_on_at_the_new_end(log: Path) -> None:
    append(log, "".join(f"line {n}\n" for n in range(100)))
    reader = Reader(log)
    reader.poll()
    reader.stop()
    os.truncate(log, 500)
    reader.start()
    assert reader.poll() == []
    append(log, "\nnew\n")
    assert reader.poll()[-1] == "new"
    reader.restart()
    assert reader.wait(10) == []


def test_c39_the_positions_of_old_generations_expire(log: Path) -> None:
    reader = Reader(log)
    for n in range(80):
        append(log, f"{n}\n")
        reader.poll()
        rotate(log)
        reader.wait(8)
    assert reader.ledger.lines == [str(n) for n in range(80)]
    assert len(reader.ledger.kept) < 70


def test_d41_a_missing_file_is_waited_for(log: Path) -> None:
    reader = Reader(log, start_at="end")
    assert reader.poll() == []
    append(log, "first\n")
    assert reader.poll() == ["first"]


@pytest.mark.parametrize("end", ["", "half"])
def test_start_at_the_end(log: Path, end: str) -> None:
    append(log, "old\n" + end)
    reader = Reader(log, start_at="end")
    assert reader.poll() == []
    reader.restart()
    append(log, "rest\nnew\n" if end else "new\n")
    assert reader.poll() == ["new"]


def test_d43_a_stale_descriptor_is_opened_anew(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")

    def stale(*_: object) -> bytes:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", stale)
        assert reader.poll() == []
        assert reader.source.errors == {"io": 1}
    assert reader.poll() == ["a2"]


def test_a_folder_that_was_moved_goes_on_where_it_was(log: Path) -> None:
    """To another disk or machine, or back from a backup: other inodes."""
    append(log, "".join(f"a{n}\n" for n in range(100)))
    reader = Reader(log)
    reader.poll()
    rotated = rotate(log)
    append(log, "".join(f"b{n}\n" for n in range(100)))
    assert len(reader.wait(10)) == 100
    reader.stop()
    for file in (rotated, log):
        os.replace(shutil.copy2(file, file.with_name("copied")), file)
    append(log, "b100\n")
    reader.start()
    assert reader.wait(10) == ["b100"]
    assert (reader.ledger.rotations, reader.ledger.lost_bytes) == (1, 0)
