"""What other tools were measured to get wrong, with the same input; each named after its scenario.

The inputs are those that made Pygtail 0.14, mtail 3.0 and watchdog 7.1 lose, repeat or tear lines.
"""

import gzip
import os
import resource
import shutil
from pathlib import Path

import pytest
from msgspec import structs

from exporter.following import GRACE
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
    assert reader.books.unparsed == ["too_long"]


def test_a6_a_crash_in_the_middle_of_a_too_long_line(log: Path) -> None:
    """Filebeat: wrong offset, sent again; here the position says that the rest is to be passed over."""
    append(log, b"x" * 5000)
    reader = Reader(log, line_length=1000)
    assert reader.source.turn()
    assert reader.books.unparsed == ["too_long"]
    reader.restart()
    append(log, b"x\nFORGED? no\n")
    assert reader.poll() == ["FORGED? no"]
    assert reader.books.unparsed == ["too_long"]


def test_a12_a_million_lines_at_once(log: Path) -> None:
    log.write_bytes(b"".join(b"%d\n" % n for n in range(1_000_000)))
    reader = Reader(log)
    assert reader.source.turn()
    assert reader.source.lag > 6_000_000
    assert reader.source.backlog == reader.source.lag
    reader.poll()
    assert len(set(reader.books.lines)) == len(reader.books.lines) == 1_000_000
    assert reader.source.lag == reader.source.backlog == 0


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
    assert reader.books.unparsed == []


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
    assert reader.books.rotations == 2


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
    assert reader.books.lost_bytes == 0


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
    assert reader.books.truncations == 1


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
    assert reader.books.truncations == (how != "rename")
    assert reader.books.lost_bytes == (11 if how == "half" else 0)


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
    assert reader.books.lines == ["one", "two"]
    assert (reader.books.truncations, reader.books.lost_bytes) == (1, 8)


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


def test_c33_copytruncate_while_down_is_no_power_loss_where_there_is_a_copy(log: Path) -> None:
    """All lines alike: only the copy tells a file begun anew from one that lost its end."""
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
    "change", [{"offset": 10**18}, {"offset": 3}, {"inode": 1}, {"marker": b"x" * 16}, {"head_length": 255}]
)
def test_c34_impossible_positions_never_tear_a_line(log: Path, change: dict[str, object]) -> None:
    """Pygtail: five of eight damaged offset files raise until somebody deletes them, one gives a torn line."""
    lines = [f"line {n}" for n in range(100)]
    append(log, "".join(f"{line}\n" for line in lines))
    reader = Reader(log)
    reader.poll()
    ((key, position),) = reader.books.kept.items()
    reader.books.kept[key] = structs.replace(position, **change)
    reader.restart()
    found = reader.wait(10)
    append(log, "new\n")
    assert reader.poll() == ["new"]
    assert set(found) <= set(lines)


def _open_files() -> set[str]:
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    return found
