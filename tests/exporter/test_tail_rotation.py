"""The tail at rotations (B13 to B31), named after its scenarios; what a real logrotate does is in tests/system."""

import errno
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, age, append


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def rotate(log: Path, name: str = "access.log.1", create: bool = True) -> Path:
    rotated = log.rename(log.with_name(name))
    if create:
        log.touch()
    return rotated


def pack(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    shutil.copystat(path, packed)
    path.unlink()
    return packed


def copytruncate(log: Path, copy: str | None = "access.log.1") -> None:
    if copy:
        shutil.copyfile(log, log.with_name(copy))
    os.truncate(log, 0)


@pytest.mark.parametrize("start", [True, False])
def test_a8_b22_a_hole_is_skipped(log: Path, start: bool) -> None:
    if not start:
        append(log, "old\n" * 100)
    reader = Reader(log)
    reader.poll()
    log.write_bytes(b"\0" * 600_000 + b"new\n")
    assert reader.poll() == ["new"]
    assert reader.ledger.unparsed == []


def test_b13_rename_and_create(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    rotate(log)
    append(log, "b1\n")
    assert reader.poll() == ["a2", "b1"]
    assert reader.ledger.rotations == 1


def test_b14_the_old_file_is_read_until_the_grace_is_over(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    old = rotate(log)
    append(log, "new1\n")
    append(old, "late1\n")
    assert sorted(reader.poll()) == ["late1", "new1"]
    for n in range(4):
        append(old, f"late{n}\n")
        append(log, f"new{n}\n")
        assert sorted(reader.wait(4)) == [f"late{n}", f"new{n}"]
    reader.wait(7)
    append(old, "too late\n")
    assert reader.wait(3) == []


def test_b15_a_half_line_is_finished_in_the_renamed_file(log: Path) -> None:
    append(log, "par")
    reader = Reader(log)
    reader.poll()
    old = rotate(log)
    append(log, "b1\n")
    assert reader.poll() == ["b1"]
    append(old, "tial\n")
    assert reader.poll() == ["partial"]


def test_b15_a_half_line_that_is_never_finished_is_one_unparsed_line(log: Path) -> None:
    append(log, "whole\npar")
    reader = Reader(log)
    reader.poll()
    rotate(log)
    assert reader.wait(8) == []
    assert reader.ledger.unparsed == ["unterminated"]
    reader.restart()
    reader.wait(8)
    assert reader.ledger.unparsed == ["unterminated"]
    assert reader.ledger.lines == ["whole"]


def test_b16_nocreate(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    old = rotate(log, create=False)
    assert reader.poll() == ["a2"]
    reader.wait(60)
    append(old, "a3\n")
    assert reader.poll() == ["a3"]
    append(log, "b1\n")
    assert reader.poll() == ["b1"]


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "names",
    [(".3", ".2", ".1"), ("-20261121", "-20261122", "-20261123"), (".20261123-101500", ".20261123-101501", ".2")],
)
def test_b17_b18_three_rotations_between_polls_or_while_down(
    log: Path, names: tuple[str, ...], packed: bool, down: bool
) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    if down:
        reader.stop()
    for number, name in enumerate(names):
        append(log, f"{number}x\n{number}y\n")
        os.utime(log, ns=(0, log.stat().st_mtime_ns + 1000 * number))
        old = rotate(log, log.name + name)
        if packed:
            pack(old)
    append(log, "last\n")
    if down:
        reader.start()
    assert reader.poll() == ["0x", "0y", "1x", "1y", "2x", "2y", "last"]
    assert reader.wait(10) == []
    assert reader.ledger.rotations == 3


def test_b19_copytruncate_shorter(log: Path) -> None:
    append(log, "old1\nold2\n")
    reader = Reader(log)
    reader.poll()
    copytruncate(log)
    append(log, "n\n")
    assert reader.poll() == ["n"]
    assert reader.ledger.truncations == 1


@pytest.mark.parametrize("down", [False, True])
def test_b20_copytruncate_regrown_beyond(log: Path, down: bool) -> None:
    append(log, "old1\nold2\n")
    reader = Reader(log)
    reader.poll()
    if down:
        reader.stop()
    copytruncate(log, None)
    append(log, "aaaaaaaaaaaaaaaaaaaaaaaa\nnew2\n")
    if down:
        reader.start()
    assert reader.poll() == ["aaaaaaaaaaaaaaaaaaaaaaaa", "new2"]


@pytest.mark.parametrize("head", ["", "h" * 1000 + "\n"])
def test_b21_refilled_to_the_same_size(log: Path, head: str) -> None:
    append(log, head + "1111\n")
    reader = Reader(log)
    reader.poll()
    log.write_text(head + "2222\n")
    assert reader.poll()[-1] == "2222"


@pytest.mark.parametrize("packed", [False, True])
def test_b23_b24_the_unread_tail_is_in_the_copy(log: Path, packed: bool) -> None:
    append(log, "old1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "old2\n")
    copytruncate(log)
    if packed:
        pack(log.with_name("access.log.1"))
    append(log, "new1\nnew2\nnew3\n")
    assert sorted(reader.wait(2)) == ["new1", "new2", "new3", "old2"]
    reader.wait(10)
    assert reader.ledger.lost_bytes == 0


def test_b23_what_is_in_no_copy_is_counted_as_lost(log: Path) -> None:
    append(log, "old1\nhalf")
    reader = Reader(log)
    reader.poll()
    copytruncate(log, None)
    append(log, "n\n")
    reader.wait(10)
    assert reader.ledger.lines == ["old1", "n"]
    assert reader.ledger.lost_bytes == 4


def test_b25_half_a_gzip_file_waits_and_all_its_members_are_read(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, "a2\na3\n")
    log.unlink()
    append(log, "b1\n")
    whole = gzip.compress(b"a1\na2\n") + gzip.compress(b"a3\n")
    packed = log.with_name("access.log.1.gz")
    packed.write_bytes(whole[:-5])
    reader.start()
    assert reader.poll() == ["b1"]
    packed.write_bytes(whole)
    assert reader.poll() == ["a2", "a3"]


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_b26_an_ancient_file_is_never_read(log: Path, how: str) -> None:
    ancient = log.with_name("access.log.1")
    append(ancient, "ANCIENT1\nANCIENT2\nANCIENT3\n")
    age(ancient)
    append(log, "l1\nl2\n")
    reader = Reader(log)
    reader.poll()
    append(log, "l3\n")
    if how == "rename":
        rotate(log, "access.log-20261123")
    else:
        copytruncate(log, "access.log-20261123")
    append(log, "n1\n")
    assert sorted(reader.wait(10)) == ["l3", "n1"]


def test_b27_a_reused_inode_is_a_new_file(log: Path) -> None:
    append(log, "x" * 40 + "\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    inode = log.stat().st_ino
    for _ in range(50):
        log.unlink()
        append(log, "new1" * 20 + "\nnew2\n")
        if log.stat().st_ino == inode:
            break
    reader.start()
    assert reader.poll() == ["new1" * 20, "new2"]


def test_b28_a_symlink_gets_another_target(tmp_path: Path) -> None:
    link, one, two = (tmp_path / name for name in ("current.log", "one", "two"))
    append(one, "a1\n")
    link.symlink_to(one)
    reader = Reader(link)
    reader.poll()
    append(one, "a2\n")
    append(two, "b1\n")
    link.unlink()
    link.symlink_to(two)
    assert reader.poll() == ["a2", "b1"]


@pytest.mark.parametrize("name", ["elsewhere/access.log.1", "access.log.1"])
def test_b29_renamecopy_and_olddir(log: Path, name: str) -> None:
    (log.parent / "elsewhere").mkdir()
    append(log, "a1\na2\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a3\n")
    temporary = log.rename(log.with_name("tmp"))
    append(log, "b1\n")
    (log.parent / name).write_bytes(temporary.read_bytes()[:7])
    assert reader.poll() == ["a3", "b1"]
    shutil.copyfile(temporary, log.parent / name)
    temporary.unlink()
    assert reader.wait(10) == []


def test_b31_renamed_back(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    away = rotate(log, "access.log.20261123-101500", create=False)
    reader.wait(30)
    away.rename(log)
    append(log, "a2\n")
    assert reader.wait(10) == ["a2"]


def test_b31_removed_and_made_anew(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    log.unlink()
    append(log, "b1\n")
    assert reader.poll() == ["a2", "b1"]


def test_b17_names_that_move_at_every_look_hide_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred renames at each rotation, on a machine so busy that a look takes as long."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    rotate(log, "access.log.2")
    append(log, "b1\n")
    rotate(log)
    append(log, "c1\n")

    def moved(path: str, *rest: int, opened: Callable[..., int] = os.open) -> int:
        if path != str(log):
            name, _, number = path.rpartition(".")
            os.rename(path, f"{name}.{int(number) + 2}")
        return opened(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", moved)
        reader.restart()
        assert reader.wait(15) == []
    assert reader.poll() == ["a2", "b1", "c1"]
    assert reader.ledger.lost_bytes == 0


def test_b20_d43_what_grows_where_nothing_can_be_read_was_not_lost(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the writer between two system calls: the size of what had replaced it was taken for its own."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    copytruncate(log)
    append(log, "b1\n" * 100)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        assert reader.poll() == []
    assert reader.wait(12) == ["b1"] * 100
    assert (reader.ledger.truncations, reader.ledger.lost_bytes) == (1, 0)
