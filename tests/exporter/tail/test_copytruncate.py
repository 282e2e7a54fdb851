"""Rotation by copy and truncation (B19 to B25): the file is emptied, and its unread bytes are in a copy or nowhere."""

import gzip
import shutil
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Steps,
    back,
    begin,
    copy,
    copytruncate,
    counts,
    create,
    has_read,
    leave,
    overwrite,
    pack,
    play,
    poll,
    reads,
    reads_in_any_order,
    remove,
    rename,
    start,
    starve,
    stop,
    table,
    truncate,
    turn,
    write,
)

REGROWN: dict[str, Steps] = {
    "B19 shorter than before": [
        write("old1\nold2\n"), start(), poll(),
        copytruncate(".1"), write("n\n"), reads("n"), counts(truncations=1),
    ],
    # Pygtail, long-lived: never notices, later yields `is a long line`.
    "B19 shorter than before, with an unread line": [
        write("old1\nold2\nold3\n"), start(), poll(),
        write("old4\n"), copy(".1"), overwrite("new1\n"), reads_in_any_order("new1", "old4", within=2),
        write("this is a long line\n"), reads("this is a long line"),
    ],
    "B20 grown beyond the position, without a copy": [
        write("old1\nold2\n"), start(), poll(),
        leave, truncate(), write("aaaaaaaaaaaaaaaaaaaaaaaa\nnew2\n"), back,
        reads("aaaaaaaaaaaaaaaaaaaaaaaa", "new2"),
    ],
    # Pygtail: `aaaaa`, new2, new3; old3 and new1 lost.
    "B20 grown beyond the position, with an unread line": [
        write("old1\nold2\n"), start(), poll(),
        write("old3\n"), copy(".1"), overwrite("new1aaaaaaaaaaaaaa\nnew2\nnew3\n"),
        reads_in_any_order("new1aaaaaaaaaaaaaa", "new2", "new3", "old3", within=2), counts(lost_bytes=0),
    ],
    "B21 refilled to the same size": [
        write("1111\n"), start(), poll(), overwrite("2222\n"), reads("2222"),
    ],
    # A fingerprint of the first 1000 bytes does not see the one, a marker before the position not the other.
    "B21 refilled to the same size with the same head": [
        write("h" * 1000 + "\n1111\n"), start(), poll(), overwrite("h" * 1000 + "\n2222\n"), reads("h" * 1000, "2222"),
    ],
    "B21 refilled to the same size with the same head of one line": [
        write("y" * 1200 + "1" * 400 + "\n"), start(), poll(),
        overwrite("y" * 1200 + "2" * 400 + "\n"), reads("y" * 1200 + "2" * 400, within=2), counts(truncations=1),
    ],
    "B21 refilled to the same size with the same end": [
        write("1" * 400 + "y" * 1200 + "\n"), start(), poll(),
        overwrite("2" * 400 + "y" * 1200 + "\n"), reads("2" * 400 + "y" * 1200, within=2), counts(truncations=1),
    ],
    # All lines alike: only the copy shows whether a file was started again or lost its end.
    "C33 copytruncate while down is no power loss where there is a copy": [
        write("the same line\n" * 100), start(), poll(),
        stop, copy(".1"), overwrite("the same line\n" * 40), begin, reads(*["the same line"] * 40, within=3),
    ],
}  # fmt: skip

UNREAD: dict[str, Steps] = {
    f"B23 B24 the unread line is in the copy{', packed' * packed}": [
        write("old1\n"), start(), poll(),
        write("old2\n"), copytruncate(".1"), *([pack(".1")] * packed), write("new1\nnew2\nnew3\n"),
        reads_in_any_order("new1", "new2", "new3", "old2", within=2), poll(10), counts(lost_bytes=0),
    ]
    for packed in (False, True)
} | {
    # The file was empty at both: only the copy shows that there was something.
    "B23 a whole life between two polls": [
        create(), start(), poll(5),
        write("one\ntwo\n"), copytruncate(".1"), reads("one", "two", within=2), reads(within=10),
    ],
    "B23 what is in no copy is counted as lost": [
        write("old1\nhalf"), start(), poll(),
        truncate(), write("n\n"), poll(10), has_read("old1", "n"), counts(lost_bytes=4),
    ],
    "B23 what the copy lacks is counted as lost": [
        write(""), start(), poll(),
        write(("x" * 99 + "\n") * 4000), starve(1), turn, copy(".1", size=300_000), truncate(), write("n\n"), poll(20),
        has_read(*["x" * 99] * 3000, "n"), counts(truncations=1, lost_bytes=100_000),
    ],
    "B23 the beginning of a line that was cut off is lost": [
        write("one\nhalf of a li"), start(), poll(),
        truncate(4), write("two\n"), poll(10), has_read("one", "two"), counts(truncations=1, lost_bytes=8),
    ],
    # Found against a running exporter: what was written after the truncation was taken for one rotation more.
    "B17 B19 truncated and renamed between two polls": [
        write("a1\n"), start(), poll(),
        copytruncate(".2"), write("b1\nb2\n"), rename(".1"), write("c1\n"), poll(5),
        has_read("a1", "b1", "b2", "c1"), counts(truncations=1, rotations=1),
    ],
    # Found against a running exporter: the copy was counted, and then its bytes as lost.
    "B23 a copy is found of what waited behind a backlog": [
        write("a1\n"), start(), poll(),
        write("a" * 2_000_000 + "\n" + "a2\n" * 1000), rename(".2"), write("b" * 300 + "\n"), starve(1), turn,
        copytruncate(".1"), write("c1\n"), poll(20),
        has_read("a1", *["a2"] * 1000, "b" * 300, "c1"), counts(unparsed=["too_long"]),
        counts(rotations=1, truncations=1, lost_bytes=0),
    ],
}  # fmt: skip

_MEMBERS = gzip.compress(b"a1\na2\n") + gzip.compress(b"a3\n")

PACKED: dict[str, Steps] = {
    # Pygtail: l3 lost, the inode of the packed file differs; with full_lines a TypeError.
    "B24 rotated and packed at once": [
        write("l1\nl2\n"), start(), poll(),
        leave, write("l3\n"), pack("", ".1.gz"), write("n1\n"), back, reads("l3", "n1", within=2),
    ],
    "B25 half a gzip file waits, and all its members are read": [
        write("a1\n"), start(), poll(),
        stop, remove(), write("b1\n"), write(_MEMBERS[:-5], ".1.gz"), begin, reads("b1"),
        overwrite(_MEMBERS, ".1.gz"), reads("a2", "a3"),
    ],
}  # fmt: skip


@table(REGROWN)
def test_a_log_is_truncated_and_grows_again(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(UNREAD)
def test_unread_lines_are_read_from_the_copy(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


@table(PACKED)
def test_a_generation_is_packed(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, goes_down=goes_down)


def test_b25_a_packed_copy_of_what_is_still_open_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte each poll would stop the source for as long as the search lasts."""
    log = tmp_path / "log"
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
