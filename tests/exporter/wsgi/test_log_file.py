"""The log file: rotation by size, whole lines on a full disk, one writer if it is exclusive."""

import fcntl
import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.wsgi.log_file import LogFile


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """RLIMIT_FSIZE shortens a write, as a full disk does. Bytecode is not written meanwhile: it would be cut, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = False


def test_rotation_keeps_so_many_files_and_every_line(tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    file = LogFile(str(path), max_bytes=30, backups=2)
    for number in range(10):
        assert file.append(b"line number %d\n" % number) == 14
    file.close()
    found = {each.name: each.read_text().split("line number ")[1:] for each in tmp_path.iterdir()}
    assert found == {"proxy.log": ["9\n"], "proxy.log.1": ["6\n", "7\n", "8\n"], "proxy.log.2": ["3\n", "4\n", "5\n"]}


def test_no_rotation_by_default(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "proxy.log"))
    file.append(b"x" * (1 << 20) + b"\n")
    file.append(b"y\n")
    file.close()
    assert [each.name for each in tmp_path.iterdir()] == ["proxy.log"]


def test_a_symlink_stays_and_its_file_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "proxy.log").symlink_to(tmp_path / "disk/current")
    file = LogFile(str(tmp_path / "proxy.log"), max_bytes=1)
    file.append(b"1\n")
    file.append(b"2\n")
    file.close()
    assert (tmp_path / "proxy.log").is_symlink()
    assert ((tmp_path / "disk/current").read_bytes(), (tmp_path / "disk/current.1").read_bytes()) == (b"2\n", b"1\n")


def test_a_pipe_is_never_rotated(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path), max_bytes=1)
    file.append(b"1\n")
    file.append(b"2\n")
    file.close()
    assert os.read(reader, 100) == b"1\n2\n"
    os.close(reader)


def test_a_file_that_cannot_be_renamed_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    path = tmp_path / "proxy.log"
    file = LogFile(str(path), max_bytes=1)
    assert [file.append(b"1\n"), file.append(b"2\n")] == [2, 2]
    file.close()
    assert path.read_bytes() == b"1\n2\n"


def write_numbers(path: str, writer: int, lines: int) -> None:
    file = LogFile(path, max_bytes=2000, backups=1000)
    for number in range(lines):
        assert file.append(b"%d %d\n" % (writer, number))


def test_several_processes_rotate_one_file(tmp_path: Path) -> None:
    """Each file is renamed once, when it is full, and every line of each writer is in the files."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_numbers, args=(str(tmp_path / "log"), each, 2000)) for each in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert [each.exitcode for each in writers] == [0, 0, 0]
    rotated = sorted(tmp_path.glob("log.*"), key=lambda each: -int(each.suffix[1:]))
    assert all(each.stat().st_size >= 2000 for each in rotated)
    lines = b"".join(each.read_bytes() for each in [*rotated, tmp_path / "log"]).splitlines()
    assert sorted(lines) == sorted(b"%d %d" % (writer, number) for writer in range(3) for number in range(2000))


def test_a_cut_write_leaves_whole_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "receive.log"
    file = LogFile(str(path))
    file.append(b"1\n")
    with file_size_limit(9):
        assert file.append(b"22\n33\n44\n") == 6
        assert path.read_bytes() == b"1\n22\n33\n"
        assert [file.append(b"55\n") for _ in range(3)] == [0, 0, 0]
    assert [message.partition("; ")[0] for message in caplog.messages] == [
        f"{path} cannot be written: only a part of the lines fits, as on a full disk"
    ]
    assert file.append(b"44\n") == 3
    file.close()
    assert path.read_bytes() == b"1\n22\n33\n44\n"


def test_a_file_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gone" / "proxy.log"
    file = LogFile(str(path))
    assert [file.append(b"1\n") for _ in range(3)] == [0, 0, 0]
    assert caplog.messages == [f"{path} cannot be written: No such file or directory; each further line is tried again"]
    path.parent.mkdir()
    assert file.append(b"1\n") == 2
    file.close()


def test_an_exclusive_file_has_one_writer_also_over_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "receive.log"
    first = LogFile(str(path), max_bytes=1, is_exclusive=True)
    second = LogFile(str(path), is_exclusive=True)
    assert first.append(b"1\n")
    assert second.append(b"2\n") == 0
    with pytest.raises(BlockingIOError):
        second.open()
    assert first.append(b"3\n")  # renames the file
    assert second.append(b"4\n") == 0
    first.close()
    assert second.append(b"5\n")
    second.close()
    assert (path.read_bytes(), path.with_name("receive.log.1").read_bytes()) == (b"3\n5\n", b"1\n")


def test_a_rotation_that_another_process_holds_up_does_not_stop_the_writing(tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    path.write_bytes(b"1\n")
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        file = LogFile(str(path), max_bytes=1)
        assert file.append(b"2\n") == 2
    assert path.read_bytes() == b"1\n2\n"
    file.close()


HALVES = {
    "none": (b'{"ts":"1"}\n', b'{"ts":"1"}\n'),
    "of an empty file": (b"", b""),
    "of a line": (b'{"ts":"1"}\n{"ts":"2', b'{"ts":"1"}\n'),
    "of the first line": (b'{"ts":"2', b""),
    "very short": (b'{"ts":"1"}\n{"t', b'{"ts":"1"}\n'),
    "long": (b'{"ts":"1"}\n{"ts":"' + b"x" * 300_000, b'{"ts":"1"}\n'),
    "of somebody else": (b"1\n22", b"1\n22\n"),
}


@pytest.mark.parametrize("name", HALVES)
def test_the_half_line_of_a_killed_process_is_removed(tmp_path: Path, name: str) -> None:
    before, after = HALVES[name]
    path = tmp_path / "receive.log"
    path.write_bytes(before)
    LogFile(str(path)).remove_half_line()
    assert path.read_bytes() == after
