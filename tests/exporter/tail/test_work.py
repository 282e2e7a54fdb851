"""What the tail costs, in system calls and bytes read, never in seconds: linear in files and in bytes."""

import gzip
import os
import shutil
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.tail import open_file
from exporter.tail.wake import Wake
from tests.exporter.reader import Reader, age, append

_CALLS = ("stat", "lstat", "fstat", "open", "pread", "scandir", "listdir", "readlink")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counter(*arguments: Any, **keywords: Any) -> Any:
            counted[name] += 1
            return call(*arguments, **keywords)

        return counter

    for name in _CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    return counted


def line(number: int) -> str:
    return f"{number:06d} a line that is long enough to be evidence\n"


def begin(folder: Path, count: int) -> Reader:
    folder.mkdir()
    for number in range(count):
        append(folder / f"x{number}.log", line(number))
    return Reader(folder / "*.log")


def start(folder: Path, count: int) -> Reader:
    return begin(folder, count)


def restart(folder: Path, count: int) -> Reader:
    reader = begin(folder, count)
    reader.wait(8)
    reader.restart()
    return reader


def rotate_all(folder: Path, count: int) -> Reader:
    reader = begin(folder, count)
    reader.wait(8)
    for number in range(count):
        log = folder / f"x{number}.log"
        log.rename(folder / f"x{number}.log.1")
        append(log, line(number + count))
    return reader


def truncate_all(folder: Path, count: int) -> Reader:
    reader = begin(folder, count)
    reader.wait(8)
    for number in range(count):
        log = folder / f"x{number}.log"
        shutil.copyfile(log, folder / f"x{number}.log.1")
        log.write_text(line(number + count))
    return reader


def add_all(folder: Path, count: int) -> Reader:
    reader = begin(folder, 1)
    reader.wait(8)
    for number in range(1, count):
        append(folder / f"x{number}.log", line(number))
    return reader


def add_all_alike(folder: Path, count: int) -> Reader:
    """All begin with the same 32 bytes, and none is a copy."""
    reader = begin(folder, 1)
    reader.wait(8)
    for number in range(1, count):
        append(folder / f"x{number}.log", "all of these lines begin with the same words, " + line(number))
    return reader


@pytest.mark.parametrize("prepare", [start, restart, rotate_all, truncate_all, add_all, add_all_alike])
def test_many_files_cost_what_each_costs(
    tmp_path: Path, prepare: Callable[[Path, int], Reader], calls: Counter[str]
) -> None:
    costs = {}
    for count in (20, 80):
        reader = prepare(tmp_path / str(count), count)
        calls.clear()
        for _ in range(8):
            reader.poll()
        costs[count] = Counter(calls)
        reader.stop()
        assert len(set(reader.ledger.lines)) == len(reader.ledger.lines) >= count
    for call in _CALLS:
        assert costs[80][call] <= 4.5 * costs[20][call] + 8, call
    assert costs[80]["scandir"] <= costs[20]["scandir"] + 8, "one listing, whatever the number of files"


def test_old_siblings_are_listed_and_never_opened(tmp_path: Path, calls: Counter[str]) -> None:
    log = tmp_path / "log"
    append(log, line(0))
    for number in range(1, 500):
        append(tmp_path / f"log.{number}", line(-number))
        age(tmp_path / f"log.{number}")
    reader = Reader(log)
    reader.wait(8)
    assert calls["open"] < 20
    log.rename(tmp_path / "log.500")
    append(log, line(1))
    calls.clear()
    assert len(reader.poll()) == 1
    assert calls["open"] < 20
    assert calls["stat"] < 1.1 * 500
    reader.wait(8)
    calls.clear()
    reader.wait(10)
    assert calls.total() < 10 * 5, "nothing is listed where nothing is searched for"


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read, sizes = gzip.GzipFile.read, []

    def counting(file: gzip.GzipFile, size: int | None = -1) -> bytes:
        data = read(file, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    return sizes


@pytest.mark.parametrize("megabytes", [2, 4])
def test_a_packed_log_is_unpacked_twice_whatever_its_size(tmp_path: Path, megabytes: int, unpacked: list[int]) -> None:
    """Once to learn that it is whole, and once to be read."""
    data = b"".join(line(number).encode() for number in range(megabytes * 20_000))
    (tmp_path / "log.gz").write_bytes(gzip.compress(data, 1))
    reader = Reader(tmp_path / "log.gz")
    assert len(reader.wait(5)) == megabytes * 20_000
    assert sum(unpacked) <= 2 * len(data) + (1 << 20)
    unpacked.clear()
    reader.wait(20)
    assert unpacked == []
    reader.restart()
    assert reader.wait(10) == []
    assert sum(unpacked) <= 2 * len(data) + (1 << 20)


def test_a_packed_generation_that_is_found_goes_on_where_it_was(tmp_path: Path, unpacked: list[int]) -> None:
    log = tmp_path / "log"
    data = [line(number) for number in range(40_000)]
    append(log, "".join(data[:20_000]))
    reader = Reader(log)
    reader.wait(3)
    reader.stop()
    append(log, "".join(data[20_000:]))
    (tmp_path / "kept.gz").write_bytes(gzip.compress(log.read_bytes(), 1))
    log.unlink()
    append(log, line(99_999))
    reader.start()
    assert len(reader.wait(8)) == 20_001
    assert sum(unpacked) <= 2 * sum(map(len, data)) + (1 << 20)


@pytest.mark.parametrize("name", ["log.gz", "log.1.gz"])
def test_what_is_unpacked_in_steps_goes_on_at_once(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one poll, also after a restart."""
    monkeypatch.setattr(open_file, "_STEP", 1 << 16)
    monkeypatch.setattr(open_file, "_BLOCK", 1 << 12)
    log = tmp_path / ("log.gz" if name == "log.gz" else "log")
    append(log, b"")
    reader = Reader(log)
    reader.wait(8)
    data = "".join(line(number) for number in range(20_000))
    if name == "log.gz":
        log.unlink()
    else:
        append(log, line(99_999))
        log.rename(tmp_path / "log.2")
        append(log, line(88_888))
    (tmp_path / name).write_bytes(gzip.compress(data.encode(), 1))
    assert len(set(reader.poll())) == 20_000 + 2 * (name != "log.gz")
    reader.restart()
    assert reader.poll() == []
    assert reader.source.first_pass.is_done()


def _bomb(path: Path, megabytes: int) -> None:
    """Zeros, packed a thousandfold."""
    pack = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(pack.compress(bytes(1 << 20)))
        file.write(pack.flush())


def test_a_file_that_unpacks_to_much_delays_no_other(tmp_path: Path, unpacked: list[int]) -> None:
    _bomb(tmp_path / "a.gz", 100)
    append(tmp_path / "b.log", "b0\n")
    reader = Reader(tmp_path / "a.gz", tmp_path / "b.log")
    turns = 0
    while True:
        unpacked.clear()
        append(tmp_path / "b.log", f"b{turns + 1}\n")
        more = reader.source.turn([str(tmp_path / "b.log")])
        assert len(reader.ledger.lines) > turns
        assert sum(unpacked) <= 1 << 25
        assert max([0, *unpacked]) <= 1 << 20
        turns += 1
        if not more or turns > 60:
            break
    assert turns > 60, "it is unpacked in steps"


def test_a_bomb_among_the_siblings_delays_no_other(tmp_path: Path, unpacked: list[int]) -> None:
    log = tmp_path / "log"
    append(log, line(0))
    reader = Reader(log)
    reader.wait(3)
    reader.stop()
    log.rename(tmp_path / "log.2")
    _bomb(tmp_path / "log.1.gz", 50)
    append(log, line(1))
    reader.start()
    found = 0
    for _ in range(30):
        unpacked.clear()
        reader.source.turn()
        found = max(found, sum(unpacked))
    assert 0 < found < 1 << 25


def test_a_source_ends_between_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 files in their first poll are no reason to wait for."""
    stop, wake, real, opened = threading.Event(), Wake(), os.open, []
    reader = begin(tmp_path / "logs", 60)

    def opening(path: str, *arguments: Any) -> int:
        opened.append(path)
        if len(opened) == 10:
            stop.set()
            wake.end()
        return real(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opening)
        reader.source.run(stop, wake)
    assert len(opened) <= 11
    assert reader.ledger.lines == []
