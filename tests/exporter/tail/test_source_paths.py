"""Which files a source reads where paths change, or one file has several: the same, an awaited one, another one."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parsers.values.numbers import SECOND
from tests.exporter.reader import Reader, age, append


@pytest.mark.parametrize("path", ["a.log", "*.log"])
def test_d41_what_appears_where_it_was_waited_for_is_read_from_its_beginning_after_a_crash(
    tmp_path: Path, path: str
) -> None:
    reader = Reader(tmp_path / path, start_at="end")
    reader.poll()
    reader.stop()
    append(tmp_path / "a.log", "new\n")
    reader.start()
    assert reader.wait(2) == ["new"]


@pytest.mark.parametrize("ancient", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_d41_what_appears_and_is_rotated_while_down_is_read(
    tmp_path: Path, rotations: int, is_there: bool, ancient: bool
) -> None:
    """This holds also if the log does not exist at the start. Rotated files from before the first start are never read."""
    log = tmp_path / "a.log"
    if ancient:
        append(tmp_path / "a.log.7", "ancient\n")
        os.utime(tmp_path / "a.log.7", (1e9, 1e9))
    reader = Reader(log, start_at="end")
    reader.poll()
    reader.stop()
    for number in range(rotations):
        append(log, f"{number}\n")
        log.rename(tmp_path / f"a.log.{rotations - number}")
    if is_there:
        append(log, "new\n")
    reader.start()
    reader.wait(12)
    if not is_there:
        append(log, "new\n")
    reader.wait(12)
    assert reader.ledger.lines == [*map(str, range(rotations)), "new"]
    reader.restart()
    assert reader.wait(8) == []


def _was_down(reader: Reader, seconds: int = 3) -> Reader:
    """Let a reader read for some seconds and stop it, as if it had been down for three seconds then."""
    reader.wait(seconds)
    reader.stop()
    reader.ledger.searched_until -= 3 * SECOND
    return reader


def _rotates(log: Path, to: str) -> None:
    append(log, f"{to}\n")
    log.rename(log.with_name(to))


def _packs(log: Path, to: str) -> None:
    _rotates(log, to)
    rotated = log.with_name(to)
    log.with_name(f"{to}.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    shutil.copystat(rotated, log.with_name(f"{to}.gz"))
    rotated.unlink()


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize(
    ("rotate", "names"),
    [
        (_rotates, ["a.log.1"]),
        (_rotates, ["a.log.3", "a.log.2", "a.log.1"]),
        (_rotates, ["a.log-20261130", "a.log-20261201"]),
        (_rotates, ["a-20261130.log"]),  # a match itself
        (_packs, ["a.log.1"]),
        (_packs, ["a.log-20261201"]),
    ],
)
def test_what_appears_in_a_glob_and_is_rotated_while_down_is_read(
    tmp_path: Path, rotate: Callable[[Path, str], None], names: list[str], is_quiet: bool
) -> None:
    """Rotated files that were there before are never read, even if no log beside them was."""
    for name, text in (("b.log", "before\n"), ("a.log.7", "ancient\n"), ("a.log-20261129", "old\n")):
        append(tmp_path / name, text)
    if is_quiet:  # nothing was posted for an hour before the files beside it were written
        age(tmp_path / "b.log", 3600)
    reader = _was_down(Reader(tmp_path / "*.log", start_at="end"), seconds=8)
    for name in ("a.log.7", "a.log-20261129"):
        age(tmp_path / name, 10)
    for name in names:
        rotate(tmp_path / "a.log", name)
    append(tmp_path / "a.log", "new\n")
    append(tmp_path / "b.log", "more\n")
    reader.start()
    reader.wait(12)
    assert sorted(reader.ledger.lines) == sorted([*names, "new", "more"])
    reader.restart()
    assert reader.wait(8) == []


@pytest.mark.parametrize("is_known", [False, True])
def test_a_log_that_may_be_a_rotated_file_of_a_new_one_is_read_once(tmp_path: Path, is_known: bool) -> None:
    append(tmp_path / "b.log", "b\n")
    if is_known:
        append(tmp_path / "a-1.log", "known\n")
    reader = _was_down(Reader(tmp_path / "*.log"))
    append(tmp_path / "a-1.log", "one\n")
    append(tmp_path / "a.log", "two\n")
    reader.start()
    reader.wait(12)
    append(tmp_path / "a-1.log", "three\n")
    reader.wait(8)
    assert sorted(reader.ledger.lines) == sorted(["b", "one", "two", "three", *(["known"] if is_known else [])])


def test_a_log_of_a_glob_that_was_read_and_is_gone_is_not_read_again_when_its_name_comes_back(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.log")
    append(tmp_path / "b.log", "b\n")
    age(tmp_path / "b.log", 3600)
    append(tmp_path / "a.log", "one\n")
    reader.wait(3)
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    reader.wait(30)
    reader.stop()
    # As after a longer time.
    reader.ledger.kept = {key: each for key, each in reader.ledger.kept.items() if each.path.endswith("b.log")}
    append(tmp_path / "a.log", "two\n")
    reader.start()
    assert reader.wait(12) == ["two"]


def test_a_crash_in_the_first_pass_does_not_hide_what_was_rotated_before_it(tmp_path: Path) -> None:
    append(tmp_path / "b.log", "b\n")
    reader = _was_down(Reader(tmp_path / "*.log"))
    _rotates(tmp_path / "a.log", "a.log.1")
    append(tmp_path / "a.log", "new\n")
    append(tmp_path / "b.log", "more\n")
    reader.start()
    reader.ledger.kept = {key: each for key, each in reader.ledger.kept.items() if each.path.endswith("b.log")}
    reader.start()
    reader.wait(12)
    assert sorted(reader.ledger.lines) == ["a.log.1", "b", "more", "new"]


@pytest.mark.parametrize("moved", [False, True])
def test_b28_old_files_beside_a_link_stay_unread_when_another_path_reads_its_target(
    tmp_path: Path, moved: bool
) -> None:
    """The link has no position of its own, like a path that was absent."""
    for number, name in enumerate(["app-20261101.log", "app-20261102.log.gz", "app.log.1"]):
        append(tmp_path / name, "ancient\n")
        os.utime(tmp_path / name, (1e9 + number, 1e9 + number))
    append(tmp_path / "today.log", "a1\n")
    (tmp_path / "app.log").symlink_to("today.log")
    reader = Reader(tmp_path / "today.log", tmp_path / "app.log", start_at="beginning")
    assert reader.wait(3) == ["a1"]
    reader.stop()
    if moved:
        append(tmp_path / "later.log", "b1\n")
        (tmp_path / "app.log").unlink()
        (tmp_path / "app.log").symlink_to("later.log")
    reader.start()
    assert reader.wait(20) == ["b1"] * moved


def test_a_path_that_is_corrected_begins_at_its_end(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "old\n")
    reader = Reader(tmp_path / "typo.log", start_at="end")
    reader.poll()
    reader.stop()
    corrected = Reader(tmp_path / "a.log", start_at="end")
    corrected.ledger = reader.ledger
    corrected.restart()
    assert corrected.wait(2) == []
    append(tmp_path / "a.log", "new\n")
    assert corrected.wait(2) == ["new"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_b29_one_file_under_two_names_is_read_once(tmp_path: Path, link: object) -> None:
    append(tmp_path / "a.log", "a1\n")
    link(tmp_path / "a.log", tmp_path / "b.log")  # type: ignore[operator]
    reader = Reader(tmp_path / "*.log")
    assert reader.poll() == ["a1"]
    append(tmp_path / "b.log", "a2\n")
    assert reader.wait(2) == ["a2"]
    reader.restart()
    assert reader.wait(2) == []


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("rest", [1, 12])
@pytest.mark.parametrize("first", ["", "x.log", "l/l.log"])
def test_b29_one_file_under_two_names_is_rotated(tmp_path: Path, link: object, rest: int, first: str) -> None:
    """Whichever name is looked at first, the rotated file is that of both."""
    (tmp_path / "l").mkdir()
    log = tmp_path / "x.log"
    reader = Reader(tmp_path / "*.log", tmp_path / "l" / "*.log")
    reader.poll()
    append(log, "a1\n")
    link(log, tmp_path / "l" / "l.log")  # type: ignore[operator]
    assert reader.wait(2) == ["a1"]
    log.rename(log.with_name("x.log.1"))
    append(log, "b1\n")
    if first:
        reader.now += 0.1
        reader.source.turn([str(tmp_path / first)])
    reader.wait(rest)
    assert reader.ledger.lines == ["a1", "b1"]
    reader.restart()
    assert reader.wait(8) == []


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("start_at", ["beginning", "end"])
def test_b29_a_path_written_in_another_way_goes_on_in_the_same_file(
    tmp_path: Path, link: object, start_at: str
) -> None:
    """The configuration names the link instead of its target, or the reverse: nothing is read again."""
    append(tmp_path / "a.log", "a1\n")
    link(tmp_path / "a.log", tmp_path / "b.log")  # type: ignore[operator]
    reader = Reader(tmp_path / "a.log", start_at=start_at)
    reader.poll()
    for number, name in enumerate(["b.log", "a.log", "../" + tmp_path.name + "/a.log"]):
        reader.stop()
        append(tmp_path / "a.log", f"while down {number}\n")
        reader.configure(f"{tmp_path}/{name}")
        assert reader.wait(2) == [f"while down {number}"]
        append(tmp_path / "a.log", f"{number}\n")
        assert reader.wait(8) == [f"{number}"]
    assert (reader.ledger.rotations, reader.ledger.truncations, reader.ledger.lost_bytes) == (0, 0, 0)


def test_b29_there_and_back_over_rotations(tmp_path: Path) -> None:
    """What is done under one name and what is read under the other are one history."""
    log = tmp_path / "a.log"
    append(log, "0\n")
    (tmp_path / "b.log").symlink_to("a.log")
    reader = Reader(log)
    assert reader.poll() == ["0"]
    for number in range(1, 13, 2):
        log.rename(tmp_path / f"a.log.{13 - number}")
        append(log, f"{number}\n")
        assert reader.wait(8 if number % 4 == 1 else 2) == [f"{number}"]
        reader.stop()
        reader.configure(tmp_path / ("b.log" if number % 4 == 1 else "a.log"))
        append(log, f"{number + 1}\n")
        assert reader.wait(8) == [f"{number + 1}"]


def test_another_file_under_another_path_is_read_from_its_beginning(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "a1\n")
    append(tmp_path / "b.log", "b1\n")
    reader = Reader(tmp_path / "a.log")
    assert reader.poll() == ["a1"]
    reader.stop()
    reader.configure(tmp_path / "b.log")
    assert reader.wait(8) == ["b1"]


@pytest.mark.parametrize("down", [False, True])
def test_a_file_renamed_to_another_matching_name_goes_on(tmp_path: Path, down: bool) -> None:
    append(tmp_path / "b.log", "b1\n")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    if down:
        reader.stop()
    (tmp_path / "b.log").rename(tmp_path / "a.log")
    append(tmp_path / "a.log", "b2\n")
    if down:
        reader.start()
    assert reader.wait(12) == ["b2"]
    reader.restart()
    append(tmp_path / "a.log", "b3\n")
    assert reader.wait(12) == ["b3"]


def test_b27_an_inode_of_another_path_that_is_used_again_hides_nothing(tmp_path: Path) -> None:
    """B's file went while we were down, and A's next two generations got its inode, one after the other."""
    append(tmp_path / "a.log", "a1\n")
    append(tmp_path / "b.log", "b1\n")
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    reader.stop()
    inode = (tmp_path / "b.log").stat().st_ino
    (tmp_path / "a.log").rename(tmp_path / "a.log.2")
    os.rename(tmp_path / "b.log", tmp_path / "a.log.1")
    (tmp_path / "a.log.1").write_text("a2\n")
    append(tmp_path / "a.log", "a3\n")
    assert (tmp_path / "a.log.1").stat().st_ino == inode
    reader.start()
    assert sorted(reader.wait(10)) == ["a2", "a3"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("first", ["app.log", "day-1.log", "day-2.log"])
@pytest.mark.parametrize("copied", ["before", "with", "after"])
@pytest.mark.parametrize("grown", ["", "a2, which was written after the copy was made, and is long enough\n"])
def test_b29_a_link_moves_to_another_log_while_the_old_one_is_copied(
    tmp_path: Path, link: object, first: str, copied: str, grown: str
) -> None:
    """The copy has a rotated name of the link, but the bytes of a log that another path reads or has read."""
    old, new, path = tmp_path / "day-1.log", tmp_path / "day-2.log", tmp_path / "app.log"
    line = "a1, a line of more than the thirty-two bytes that tell one log from another\n"
    append(old, line)
    link(old, path)  # type: ignore[operator]
    reader = Reader(path, tmp_path / "day-*.log")
    assert reader.wait(2) == [line.rstrip()]
    copy = tmp_path / "app.log.1"
    if copied == "before":
        copy.write_bytes(old.read_bytes())
    append(old, grown)
    append(new, "b1, another line of more than the thirty-two bytes that tell logs apart\n")
    path.unlink()
    link(new, path)  # type: ignore[operator]
    if copied == "with":
        copy.write_bytes(old.read_bytes())
    reader.now += 0.1
    reader.source.turn([str(tmp_path / first)])
    if copied == "after":
        reader.wait(2)
        copy.write_bytes(old.read_bytes())
    reader.wait(20)
    assert sorted(line[:2] for line in reader.ledger.lines) == ["a1", "a2", "b1"][:: 1 if grown else 2]
    reader.restart()
    assert reader.wait(20) == []
