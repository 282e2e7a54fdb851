"""A name decides nothing: what was read is found again under any name and never counted twice (cases 21, 23, 48)."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "test.log"


def line(number: int) -> str:
    return f'10.1.1.1 - - [29/Nov/2026:08:00:{number:02d} +0000] "GET /v1/info HTTP/1.1" 200 {1000 + number}\n'


def lines(*numbers: int) -> str:
    return "".join(map(line, numbers))


def numbers(found: list[str]) -> list[int]:
    return [int(each.rpartition(" ")[2]) - 1000 for each in found]


def rename(log: Path, name: str) -> None:
    log.rename(log.with_name(name))


def pack(log: Path, name: str) -> None:
    log.with_name(name).write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


def copytruncate(log: Path, name: str) -> None:
    shutil.copyfile(log, log.with_name(name))
    os.truncate(log, 0)


_DATED = (
    "test-20261129.log", "test.1.log", "test-1.log", "test-2026-11-29T08-00-00.000.log", "test-11-29-2026-1.log",
    "test.2026-11-29.0.log",
)  # fmt: skip
_ANY = (*_DATED, "test.log.bak", "old", "server-of-yesterday.txt", "test.log.2026-11-29-08")


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("name", _ANY)
@pytest.mark.parametrize("move", [rename, copytruncate])
def test_what_was_read_in_part_is_found_under_any_name(
    log: Path, name: str, move: Callable[[Path, str], None], up: bool
) -> None:
    append(log, lines(1, 2))
    reader = Reader(log)
    reader.poll()
    if not up:
        reader.stop()
    append(log, lines(3, 4))
    move(log, name)
    append(log, lines(5))
    if not up:
        reader.start()
    assert sorted(numbers(reader.wait(12))) == [3, 4, 5]
    assert reader.ledger.lost_bytes == 0


@pytest.mark.parametrize("name", [f"{name}.gz" for name in _ANY])
def test_what_was_read_in_part_is_found_packed_under_any_name(log: Path, name: str) -> None:
    append(log, lines(1, 2))
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, lines(3, 4))
    pack(log, name)
    append(log, lines(5))
    reader.start()
    assert sorted(numbers(reader.wait(12))) == [3, 4, 5]
    assert reader.ledger.lost_bytes == 0


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        ("test-20261127.log", "test-20261128.log", "test-20261129.log"),
        ("test.3.log", "test.2.log", "test.1.log"),
        ("test-3.log", "test-2.log", "test-1.log"),
        tuple(f"test-2026-11-{day}T08-00-00.000.log" for day in (27, 28, 29)),
        tuple(f"test-11-29-2026-{number}.log" for number in (1, 2, 3)),
    ],
)
def test_generations_that_nobody_saw_are_found_with_the_ending_behind(
    log: Path, names: tuple[str, ...], packed: bool
) -> None:
    append(log, lines(1))
    reader = Reader(log)
    reader.poll()
    reader.stop()
    for number, name in enumerate(names):
        append(log, lines(10 * number + 10, 10 * number + 11))
        os.utime(log, ns=(0, log.stat().st_mtime_ns + 10**9 * number))
        if packed:
            modified = log.stat().st_mtime_ns
            pack(log, f"{name}.gz")
            os.utime(log.with_name(f"{name}.gz"), ns=(0, modified))
        else:
            rename(log, name)
    append(log, lines(40))
    reader.start()
    assert numbers(reader.wait(12)) == [10, 11, 20, 21, 30, 31, 40]
    assert reader.ledger.lost_bytes == 0


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{stem}_*{ext}", "test_7.log"),
        ("%s~*", "test.log~7"),
        ("old/{stem}-*", "old/test-a"),
        ("../gone/%s", "../gone/test.log"),
    ],
)
def test_a_log_pattern_names_generations_that_nobody_saw(tmp_path: Path, pattern: str, name: str) -> None:
    log = tmp_path / "logs" / "test.log"
    for folder in ("logs", "logs/old", "gone"):
        (tmp_path / folder).mkdir()
    append(log, lines(1))
    reader = Reader(log, log_patterns=(pattern,))
    reader.poll()
    reader.stop()
    log.rename(log.with_name("test.log.1"))
    append(log, lines(2))
    log.rename(log.parent / name)
    append(log, lines(3))
    reader.start()
    assert numbers(reader.wait(12)) == [2, 3]


def test_a_log_of_its_own_is_no_generation_of_another(log: Path) -> None:
    """`test-1.log` is written by another worker, and was there when the source was first seen."""
    other = log.with_name("test-1.log")
    append(other, lines(50))
    os.utime(other, (1_000_000_000, 1_000_000_000))
    append(log, lines(1))
    reader = Reader(log)
    reader.poll()
    append(other, lines(51))
    append(log, lines(2))
    rename(log, "test.log.1")
    append(log, lines(3))
    assert numbers(reader.wait(12)) == [2, 3]
    reader.stop()
    append(other, lines(52))
    rename(log, "test.log.1")
    append(log, lines(4))
    reader.start()
    assert numbers(reader.wait(12)) == [4]


_COPIES = (
    "test-20261129.log",
    "test.1.log",
    "test.log.2026-11-29-08",
    "test.log.bak",
    "copy of test.log",
    "test.log-20261129",
)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("name", _COPIES)
@pytest.mark.parametrize("how", ["copy", "copytruncate", "copytruncate with unread lines"])
def test_a_copy_that_a_glob_matches_is_not_counted_again(log: Path, name: str, how: str, up: bool) -> None:
    append(log, lines(1, 2))
    reader = Reader(log.with_name("*"))
    reader.poll()
    append(log, lines(3))
    reader.wait(5)
    if not up:
        reader.stop()
    if how.endswith("unread lines"):
        append(log, lines(4))
    if how == "copy":
        shutil.copyfile(log, log.with_name(name))
    else:
        copytruncate(log, name)
    append(log, lines(5))
    if not up:
        reader.start()
    reader.wait(12)
    expected = [1, 2, 3, 4, 5] if how.endswith("unread lines") else [1, 2, 3, 5]
    assert sorted(numbers(reader.ledger.lines)) == expected
    assert reader.source.first_pass_done()
    reader.restart()
    append(log, lines(6))
    assert numbers(reader.wait(12)) == [6]
    assert reader.ledger.lost_bytes == 0


@pytest.mark.parametrize("name", ["test.{}.log", "copy-{}.log"])
def test_copies_that_are_renamed_at_each_rotation_are_not_counted_again(log: Path, name: str) -> None:
    """Two rotations by copytruncate, `extension .log`, the second while the exporter is down."""
    reader = Reader(log.with_name("*.log"))
    for number in range(1, 6):
        append(log, lines(10 * number))
        reader.wait(4)
        append(log, lines(10 * number + 1))
        if number % 2:
            reader.stop()
        for older in range(number, 0, -1):
            old = log.with_name(name.format(older))
            if old.exists():
                old.rename(log.with_name(name.format(older + 1)))
        copytruncate(log, name.format(1))
        append(log, lines(10 * number + 2))
        if number % 2:
            reader.start()
        reader.wait(8)
    assert sorted(numbers(reader.ledger.lines)) == [10 * n + m for n in range(1, 6) for m in range(3)]
    assert reader.ledger.lost_bytes == 0


def test_a_copy_in_the_making_is_not_counted(log: Path) -> None:
    whole = lines(*range(60))
    append(log, whole)
    reader = Reader(log.with_name("*"))
    assert len(reader.wait(5)) == 60
    copy = log.with_name("copy")
    for begin in range(0, len(whole), 1000):
        append(copy, whole[begin:][:1000])
        assert reader.poll() == []
    assert reader.wait(10) == []
    append(copy, lines(70))
    assert numbers(reader.wait(2)) == [70], "what is written behind the copied bytes is its own"


def test_a_new_log_that_begins_like_another_is_read_whole(log: Path) -> None:
    banner = "".join(f"======== this program was started by somebody: {n} ========\n" for n in range(8))
    append(log, banner + lines(1))
    reader = Reader(log.with_name("*"))
    reader.wait(3)
    append(log.with_name("other.log"), banner)
    assert reader.poll() == []
    append(log.with_name("other.log"), lines(2))
    assert len(reader.poll()) == 9


def test_short_files_are_no_evidence(log: Path) -> None:
    append(log, "starting\n")
    reader = Reader(log.with_name("*"))
    reader.wait(3)
    append(log.with_name("other.log"), "starting\n")
    assert reader.poll() == ["starting"]


@pytest.mark.parametrize("up", [True, False])
def test_a_copy_is_left_when_its_original_is_gone(log: Path, up: bool) -> None:
    append(log, lines(1, 2))
    reader = Reader(log.with_name("*"))
    reader.wait(3)
    if not up:
        reader.stop()
    shutil.copyfile(log, log.with_name("copy"))
    log.unlink()
    append(log.with_name("copy"), lines(3))
    if not up:
        reader.start()
    assert numbers(reader.wait(20)) == [3]
    append(log.with_name("copy"), lines(4))
    assert numbers(reader.wait(3)) == [4]


def test_a_date_in_the_name_of_a_live_log_hides_nothing(log: Path) -> None:
    """The program writes `test.log.2026-11-29` itself; there is no `test.log`."""
    live = log.with_name("test.log.2026-11-29")
    append(live, lines(1))
    reader = Reader(log.with_name("*"))
    assert numbers(reader.poll()) == [1]
    append(live, lines(2))
    assert numbers(reader.poll()) == [2]
