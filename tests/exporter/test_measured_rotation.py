"""What other tools were measured to get wrong at rotations, with the same input; each named after its scenario."""

import gzip
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from exporter.tail.window_reader import GRACE
from tests.exporter.reader import Reader, append


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def _open_files() -> set[str]:
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    return found


def test_b14_late_lines_after_the_new_file_was_begun(log: Path) -> None:
    """Pygtail: late1 new1 new2, and late2 lost."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    old = log.rename(log.with_name("log.1"))
    append(old, "late1\n")
    append(log, "new1\n")
    assert sorted(reader.poll()) == ["late1", "new1"]
    append(old, "late2\n")
    append(log, "new2\n")
    assert sorted(reader.poll()) == ["late2", "new2"]


def test_b14_a_quiet_file_that_is_renamed_holds_nothing_up(log: Path) -> None:
    """Found by the state machine: what had been quiet for long was never seen to have been read to its end."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.wait(20)
    log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    assert reader.poll() == ["b1"]


def test_b14_the_descriptor_is_closed_after_the_grace(log: Path) -> None:
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    old = log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    reader.poll()
    reader.wait(GRACE - 2)
    assert str(old) in _open_files()
    reader.wait(3)
    assert str(old) not in _open_files()


def test_b15_a_poll_that_comes_late_gives_up_no_line_that_still_grows(log: Path) -> None:
    append(log, "par")
    reader = Reader(log)
    reader.poll()
    old = log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    reader.poll()
    append(old, "tial")
    reader.now += 60  # stopped, or starved
    assert reader.poll() == []
    append(old, " line\n")
    assert reader.poll() == ["partial line"]
    assert reader.ledger.unparsed == []


def test_b17_two_rotations_between_two_polls(log: Path) -> None:
    """Pygtail: c1 only."""
    append(log, "a1\na2\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a3\n")
    log.rename(log.with_name("log.2"))
    append(log, "b1\nb2\n")
    log.rename(log.with_name("log.1"))
    append(log, "c1\n")
    assert reader.poll() == ["a3", "b1", "b2", "c1"]
    assert reader.ledger.rotations == 2


def test_b18_a_rotation_before_the_first_read(log: Path) -> None:
    """Pygtail #71: rotated between its making and its first read."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    reader.restart()
    log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    assert reader.poll() == ["a2", "b1"]


def test_b19_copytruncate_with_a_shorter_line(log: Path) -> None:
    """Pygtail, long-lived: never notices, later yields `is a long line`."""
    append(log, "old1\nold2\nold3\n")
    reader = Reader(log)
    reader.poll()
    append(log, "old4\n")
    shutil.copyfile(log, log.with_name("log.1"))
    log.write_text("new1\n")
    assert sorted(reader.wait(2)) == ["new1", "old4"]
    append(log, "this is a long line\n")
    assert reader.poll() == ["this is a long line"]


def test_b20_copytruncate_regrown_beyond_the_old_offset(log: Path) -> None:
    """Pygtail: `aaaaa`, new2, new3; old3 and new1 lost."""
    append(log, "old1\nold2\n")
    reader = Reader(log)
    reader.poll()
    append(log, "old3\n")
    shutil.copyfile(log, log.with_name("log.1"))
    log.write_text("new1aaaaaaaaaaaaaa\nnew2\nnew3\n")
    assert sorted(reader.wait(2)) == ["new1aaaaaaaaaaaaaa", "new2", "new3", "old3"]
    assert reader.ledger.lost_bytes == 0


@pytest.mark.parametrize("same", ["head", "end"])
def test_b21_refilled_to_the_same_size_with_the_same_head_or_the_same_end(log: Path, same: str) -> None:
    """A fingerprint of the first 1000 bytes does not see the one, a marker before the position not the other."""
    old, new = b"1" * 400, b"2" * 400
    filler = b"y" * 1200
    append(log, (filler + old if same == "head" else old + filler) + b"\n")
    reader = Reader(log)
    reader.poll()
    log.write_bytes((filler + new if same == "head" else new + filler) + b"\n")
    assert len(reader.wait(2)) == 1
    assert reader.ledger.truncations == 1


@pytest.mark.parametrize("how", ["rename", "truncate", "half"])
def test_b13_b19_a_writer_that_is_faster_than_we_look(log: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found under a real logrotate: a file that has grown since it was looked at has not shrunk."""
    real, raced = os.stat, [str(n) for n in range(30)]
    waiting = list(raced)

    def racing(path: object, **keys: object) -> os.stat_result:
        found = real(path, **keys)
        if path == str(log) and waiting:
            append(log, f"{waiting.pop(0)}\n")
        return found

    append(log, "a1\na2\n" if how != "half" else "a half line")
    reader = Reader(log)
    reader.poll()
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", racing)
        if how == "rename":
            log.rename(log.with_name("log.1"))
            append(log, "b1\n")
        else:
            os.truncate(log, 0)
        lines = reader.wait(10)
    assert lines == [*(["b1"] if how == "rename" else []), *raced]
    assert reader.ledger.truncations == (how != "rename")
    assert reader.ledger.lost_bytes == (11 if how == "half" else 0)


def test_b23_a_whole_life_between_two_polls(log: Path) -> None:
    """The file was empty at both: only the copy tells that there was something."""
    log.touch()
    reader = Reader(log)
    reader.wait(5)
    append(log, "one\ntwo\n")
    shutil.copyfile(log, log.with_name("log.1"))
    os.truncate(log, 0)
    assert reader.wait(2) == ["one", "two"]
    assert reader.wait(10) == []


def test_b23_the_beginning_of_a_line_that_was_cut_off_is_lost(log: Path) -> None:
    append(log, "one\nhalf of a li")
    reader = Reader(log)
    reader.poll()
    os.truncate(log, 4)
    append(log, "two\n")
    reader.wait(10)
    assert reader.ledger.lines == ["one", "two"]
    assert (reader.ledger.truncations, reader.ledger.lost_bytes) == (1, 8)


def test_b24_rotated_and_packed_at_once(log: Path) -> None:
    """Pygtail: l3 lost, the inode of the packed file differs; with full_lines a TypeError."""
    append(log, "l1\nl2\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    append(log, "l3\n")
    log.with_name("log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, "n1\n")
    reader.start()
    assert reader.wait(2) == ["l3", "n1"]


def test_b25_a_packed_copy_of_what_is_still_open_is_unpacked_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte each poll would stop the source for as long as the search lasts."""
    append(log, b"x" * 300 + b"\n")
    reader = Reader(log)
    reader.poll()
    old = log.rename(log.with_name("log.1"))
    append(log, "b1\n")
    packed = log.with_name("log.1.gz")
    packed.write_bytes(gzip.compress(old.read_bytes()))
    shutil.copystat(old, packed)
    old.unlink()
    unpacked: list[object] = []
    real = gzip.GzipFile.rewind
    monkeypatch.setattr(gzip.GzipFile, "rewind", lambda file: unpacked.append(file) or real(file))
    assert reader.wait(12) == ["b1"]
    assert len(unpacked) <= 2


@pytest.mark.parametrize("down", [False, True])
def test_b26_an_ancient_file_of_the_same_second(log: Path, down: bool) -> None:
    """All in one second, so that no time stamp helps."""
    append(log.with_name("log.1"), "ANCIENT1\nANCIENT2\n")
    append(log, "l1\n")
    reader = Reader(log)
    assert reader.poll() == ["l1"]
    if down:
        reader.stop()
    append(log, "l2\n")
    log.with_name("log.1").rename(log.with_name("log.2"))
    log.rename(log.with_name("log.1"))
    append(log, "n1\n")
    if down:
        reader.start()
    assert reader.wait(10) == ["l2", "n1"]


def test_b28_a_link_gets_another_target_while_nobody_looks(tmp_path: Path) -> None:
    link = tmp_path / "current.log"
    append(tmp_path / "one", "a1\n")
    link.symlink_to("one")
    reader = Reader(link)
    reader.poll()
    reader.stop()
    append(tmp_path / "one", "a2\n")
    append(tmp_path / "two", "b1\n")
    link.unlink()
    link.symlink_to("two")
    reader.start()
    assert reader.wait(2) == ["a2", "b1"]


def test_b28_a_links_target_is_rotated_while_nobody_looks(tmp_path: Path) -> None:
    """Kubernetes: /var/log/containers holds links, the rotated files lie beside their targets."""
    (tmp_path / "pods").mkdir()
    real, link = tmp_path / "pods" / "0.log", tmp_path / "app.log"
    append(real, "a1\n")
    link.symlink_to(real)
    reader = Reader(link)
    reader.poll()
    reader.stop()
    append(real, "a2\n")
    real.rename(real.with_name("0.log.20261123-101500"))
    append(real, "b1\n")
    reader.start()
    assert reader.wait(2) == ["a2", "b1"]


def test_b28_d42_a_target_that_may_not_be_read_is_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the state machine: what is missing and still there was given the content of a younger file."""
    link, opened, denied = tmp_path / "log", os.open, {str(tmp_path / "one")}
    monkeypatch.setattr(os, "open", lambda path, *flags: _denied() if path in denied else opened(path, *flags))
    (tmp_path / "one").touch()
    link.symlink_to("one")
    denied.clear()
    reader = Reader(link)
    reader.poll()
    reader.stop()
    denied.add(str(tmp_path / "one"))
    append(tmp_path / "one", "a1\n")
    append(tmp_path / "two", "b1\n" * 100)
    link.unlink()
    link.symlink_to("two")
    reader.start()
    reader.poll()
    (tmp_path / "two").write_text("b2\n" * 90)
    (tmp_path / "three").touch()
    link.unlink()
    link.symlink_to("three")
    denied.clear()
    reader.wait(15)
    assert sorted(reader.ledger.lines) == ["a1", *["b1"] * 100, *["b2"] * 90]


def _denied() -> int:
    raise PermissionError(13, "Permission denied")


def test_b29_a_folder_of_old_files_is_found_by_a_log_pattern(log: Path) -> None:
    (log.parent / "old").mkdir()
    append(log, "a1\n")
    reader = Reader(log, log_patterns=("old/%s.*",))
    reader.poll()
    reader.stop()
    append(log, "a2\n")
    log.rename(log.parent / "old" / "log.1")
    append(log, "b1\n")
    reader.start()
    assert reader.wait(2) == ["a2", "b1"]


def test_b31_the_handler_of_a_docker_log_with_one_file(log: Path) -> None:
    """max-file=1: unlink, then O_TRUNC without O_APPEND (moby #37646 stopped following)."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    for n in range(5):
        append(log, f"last{n}\n")
        log.unlink()
        log.write_text(f"first{n}\n")
        assert reader.poll() == [f"last{n}", f"first{n}"]


def _written(path: Path, text: str, second: int) -> None:
    append(path, text)
    os.utime(path, (1_000_000_000 + second, 1_000_000_000 + second))


def test_b17_a_short_life_between_two_polls_survives_further_rotations(log: Path) -> None:
    """Found against a running exporter: two lines are shorter than a digest, and might be the beginning of a copy."""
    _written(log, "a" * 300 + "\n", 1)
    reader = Reader(log)
    reader.poll()
    for second, line in ((2, "b1"), (3, "b2")):
        log.rename(log.with_name(f"log.{9 - second}"))
        _written(log, line + "\n", second)
    log.rename(log.with_name("log.5"))
    _written(log, "c1\n", 4)
    reader.poll()
    log.rename(log.with_name("log.4"))
    _written(log, "d1\n", 5)
    reader.wait(5)
    assert sorted(reader.ledger.lines)[1:] == ["b1", "b2", "c1", "d1"]
    assert reader.ledger.rotations == 4


@pytest.mark.parametrize("polls", [1, 2, 3, 4])
def test_b17_a_short_life_between_two_polls_survives_a_crash(log: Path, polls: int) -> None:
    """Found against a running exporter: nothing newer is entered before it is known to be no copy."""
    _written(log, "a" * 300 + "\n", 1)
    reader = Reader(log)
    reader.poll()
    log.rename(log.with_name("log.2"))
    _written(log, "b1\n", 2)
    log.rename(log.with_name("log.1"))
    _written(log, "c1\n", 3)
    reader.wait(polls)
    reader.restart()
    reader.poll()
    assert reader.source.first_pass_done() == (len(reader.ledger.lines) == 3)
    reader.wait(5)
    assert reader.source.first_pass_done()
    assert reader.ledger.lines[1:] == ["b1", "c1"]
    assert reader.ledger.rotations == 2


def test_b17_b19_truncated_and_renamed_between_two_polls(log: Path) -> None:
    """Found against a running exporter: what was written after the truncation was taken for one rotation more."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    shutil.copyfile(log, log.with_name("log.2"))
    os.truncate(log, 0)
    append(log, "b1\nb2\n")
    log.rename(log.with_name("log.1"))
    append(log, "c1\n")
    reader.wait(5)
    assert sorted(reader.ledger.lines) == ["a1", "b1", "b2", "c1"]
    assert (reader.ledger.truncations, reader.ledger.rotations) == (1, 1)


def test_b18_rotations_are_counted_once_however_often_it_crashes(log: Path) -> None:
    """Found against a running exporter: it was killed between the windows of a backlog of several files."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    reader.stop()
    for number, line in ((3, "b1"), (2, "b2"), (1, "b3")):
        append(log, line * 200 + "\n")
        log.rename(log.with_name(f"log.{number}"))
    append(log, "c1\n")
    for _ in range(20):
        reader.start()
        reader.source.turn()  # one window
        reader.stop()
    reader.start()
    reader.wait(10)
    assert len(reader.ledger.lines) == 5
    assert (reader.ledger.rotations, reader.ledger.lost_bytes) == (3, 0)


def test_b23_a_copy_is_found_of_what_waited_behind_a_backlog(log: Path) -> None:
    """Found against a running exporter: the copy was counted, and then its bytes as lost."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a" * 2_000_000 + "\n" + "a2\n" * 1000)
    log.rename(log.with_name("log.2"))
    append(log, "b" * 300 + "\n")
    reader.now += 1
    reader.source.turn()
    shutil.copyfile(log, log.with_name("log.1"))
    os.truncate(log, 0)
    append(log, "c1\n")
    reader.wait(20)
    assert Counter(line[:1] for line in reader.ledger.lines) == {"a": 1001, "b": 1, "c": 1}
    assert reader.ledger.unparsed == ["too_long"]
    assert (reader.ledger.rotations, reader.ledger.truncations, reader.ledger.lost_bytes) == (1, 1, 0)


def test_b23_a_copy_is_found_of_what_could_not_be_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the state machine: D42, and emptied before it was allowed."""
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    log.rename(log.with_name("log.3"))
    append(log, "b1\n")
    with monkeypatch.context() as forbidden:
        forbidden.setattr(os, "open", lambda path, *_, **__: _forbid(path))
        reader.poll()
    shutil.copyfile(log, log.with_name("log.2"))
    os.truncate(log, 0)
    log.rename(log.with_name("log.1"))
    append(log, "c1\n")
    reader.wait(20)
    assert sorted(reader.ledger.lines) == ["a1", "b1", "c1"]
    assert reader.ledger.lost_bytes == 0


def test_b23_what_was_written_after_a_truncation_is_found_also_by_a_later_start(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the state machine: emptied and renamed between two polls, and not to be opened until the restart."""
    append(log, "a1\na2\na3\n")
    reader = Reader(log)
    reader.poll()
    os.truncate(log, 0)
    append(log, "b1\n")
    old = log.rename(log.with_name("log.1"))
    append(log, "c1\n")
    opened = os.open
    with monkeypatch.context() as forbidden:
        forbidden.setattr(
            os, "open", lambda path, *a, **k: _forbid(path) if path == str(old) else opened(path, *a, **k)
        )
        reader.poll()
    _written(log, "c2\n", 2_000_000_000)
    reader.poll()
    reader.restart()
    reader.wait(10)
    assert sorted(reader.ledger.lines) == ["a1", "a2", "a3", "b1", "c1", "c2"]


def _forbid(path: str) -> int:
    raise PermissionError(13, "Permission denied", path)


def test_b17_b18_many_rotations_in_a_second(log: Path) -> None:
    """Found by the state machine: a restart took those for new that had ended in the same second as the newest."""
    _written(log, "a\n", -1)
    reader = Reader(log)
    reader.poll()
    reader.stop()
    for number in range(1, 60):
        log.rename(log.with_name(f"log.{60 - number}"))
        append(log, f"{number}\n")
        os.utime(log, ns=(number * 10**7, 10**18 + number * 10**7))
    reader.start()
    reader.wait(15)
    reader.restart()
    reader.wait(15)
    assert reader.ledger.lines == ["a", *map(str, range(1, 60))]
    assert reader.ledger.rotations == 59


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_b29_a_folder_of_old_files_is_found_where_one_has_gone_there(log: Path, up: bool, packed: bool) -> None:
    """logrotate's olddir, not configured: two rotations between two polls, or while the exporter is down."""
    old = log.with_name("old")
    old.mkdir()
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    if not up:
        reader.stop()
    for number, line in ((2, "b1"), (1, "c1")):
        log.rename(old / f"log.{number}")
        append(log, line + "\n")
    if packed and not up:
        path = old / "log.2"
        path.with_name("log.2.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if not up:
        reader.start()
    reader.wait(10)
    assert reader.ledger.lines == ["a1", "a2", "b1", "c1"]
    assert (reader.ledger.rotations, reader.ledger.lost_bytes) == (2, 0)


def test_b29_another_folder_has_logs_of_its_own(log: Path) -> None:
    """What is there under the log's name is read only where it holds what was read before, and all of it."""
    for name, text in (("site", "other\n" * 100), ("backup", "a1\n")):
        log.with_name(name).mkdir()
        append(log.with_name(name) / "log.1", text)
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    reader.poll()
    append(log, "a3\n")
    reader.poll()
    reader.stop()
    log.unlink()
    append(log, "b1\n")
    reader.start()
    reader.wait(10)
    assert reader.ledger.lines == ["a1", "a2", "a3", "b1"]


def test_b18_a_first_line_half_written_makes_no_copies_of_what_begins_alike(log: Path) -> None:
    """Found by the soak on a starved machine: files that came and went unseen were taken for copies of the newest."""
    _written(log, "127.0.0.1 a" + "a" * 300 + "\n", 1)
    reader = Reader(log)
    reader.poll()
    reader.stop()
    for second in (2, 3, 4):
        log.rename(log.with_name(f"log.{9 - second}"))
        _written(log, f"127.0.0.1 {second}" + "b" * 300 + "\n", second)
    log.rename(log.with_name("log.1"))
    _written(log, "127.0.0.1", 5)
    reader.start()
    reader.poll()
    _written(log, " c\n", 6)
    reader.poll()
    _written(log, "d\n", 9)
    reader.restart()
    reader.wait(10)
    assert [line[10:11] for line in reader.ledger.lines] == ["a", "2", "3", "4", "c", ""]
    assert reader.ledger.rotations == 4
