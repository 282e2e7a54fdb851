"""Copies that a glob matches (B29, cases 21, 23, 48): what was read is not read again, whatever matches it."""

import shutil
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append
from tests.exporter.tail.scenario import (
    Steps,
    back,
    copy,
    copytruncate,
    counts,
    first_pass_is_done,
    has_read,
    leave,
    play,
    poll,
    reads,
    remove,
    restart,
    start,
    table,
    write,
)
from tests.exporter.tail.test_names import line, lines

_NAMES = (
    "test-20261129.log",
    "test.1.log",
    "test.log.2026-11-29-08",
    "test.log.bak",
    "copy of test.log",
    "test.log-20261129",
)
_BANNER = "".join(f"======== this program was started by somebody: {n} ========\n" for n in range(8))

COPIES: dict[str, Steps] = {
    f"{how} to {name}": [
        write(lines(1, 2)), start("*"), poll(), write(line(3)), poll(5), leave,
        *([write(line(4))] * has_unread), copytruncate(name) if how.startswith("copytruncate") else copy(name),
        write(line(5)), back, poll(12),
        has_read(*lines(1, 2, 3, *[4] * has_unread, 5).splitlines()), first_pass_is_done,
        restart, write(line(6)), reads(line(6).strip(), within=12), counts(lost_bytes=0),
    ]
    for how, has_unread in (("copy", False), ("copytruncate", False), ("copytruncate with unread lines", True))
    for name in _NAMES
}  # fmt: skip

NO_COPIES: dict[str, Steps] = {
    "a new log that begins like another is read whole": [
        write(_BANNER + line(1)), start("*"), poll(3),
        write(_BANNER, "other.log"), reads(),
        write(line(2), "other.log"), reads(*_BANNER.splitlines(), line(2).strip()),
    ],
    "short files are no evidence": [
        write("starting\n"), start("*"), poll(3), write("starting\n", "other.log"), reads("starting"),
    ],
    "a copy is left when its original is gone": [
        write(lines(1, 2)), start("*"), poll(3), leave,
        copy("copy"), remove(), write(line(3), "copy"), back, reads(line(3).strip(), within=20),
        write(line(4), "copy"), reads(line(4).strip(), within=3),
    ],
    # The program writes this file itself; there is no `test.log`.
    "a date in the name of a live log hides nothing": [
        write(line(1), ".2026-11-29"), start("*"), reads(line(1).strip()),
        write(line(2), ".2026-11-29"), reads(line(2).strip()),
    ],
}  # fmt: skip


@table(COPIES)
def test_a_copy_that_a_glob_matches_is_not_counted_again(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="test.log", goes_down=goes_down)


@table(NO_COPIES)
def test_what_is_no_copy_is_read(tmp_path: Path, steps: Steps, goes_down: bool) -> None:
    play(tmp_path, steps, log="test.log", goes_down=goes_down)


@pytest.mark.parametrize("name", ["test.{}.log", "copy-{}.log"])
def test_copies_that_are_renamed_at_each_rotation_are_not_counted_again(tmp_path: Path, name: str) -> None:
    """Two rotations by copytruncate, `extension .log`, the second while the exporter is down."""
    log = tmp_path / "test.log"
    reader = Reader(log.with_name("*.log"))
    for number in range(1, 6):
        append(log, line(10 * number))
        reader.wait(4)
        append(log, line(10 * number + 1))
        if number % 2:
            reader.stop()
        for older in range(number, 0, -1):
            old = log.with_name(name.format(older))
            if old.exists():
                old.rename(log.with_name(name.format(older + 1)))
        shutil.copyfile(log, log.with_name(name.format(1)))
        log.write_bytes(b"")
        append(log, line(10 * number + 2))
        if number % 2:
            reader.start()
        reader.wait(8)
    assert sorted(reader.ledger.lines) == [line(10 * n + m).strip() for n in range(1, 6) for m in range(3)]
    assert reader.ledger.lost_bytes == 0


def test_a_copy_in_the_making_is_not_counted(tmp_path: Path) -> None:
    log, whole = tmp_path / "test.log", lines(*range(60))
    append(log, whole)
    reader = Reader(log.with_name("*"))
    assert len(reader.wait(5)) == 60
    copied = log.with_name("copy")
    for begin in range(0, len(whole), 1000):
        append(copied, whole[begin:][:1000])
        assert reader.poll() == []
    assert reader.wait(10) == []
    append(copied, line(70))
    assert reader.wait(2) == [line(70).strip()], "what is written behind the copied bytes is its own"
