"""Disks that are full or read-only, locked and half-written files: no day of the history is lost or counted twice."""

import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from exporter.persistence import archive
from tests.exporter.ledger.test_history import DAY, START, Rig, line
from tests.exporter.wsgi.test_log_file import file_size_limit
from tests.special_files import MAKE

DAYS = 20
LOG = b"".join(line(START + number * DAY / 5) for number in range(5 * DAYS))


def grow(rig: Rig) -> dict[str, int]:
    """Read the log to its end, so that the next commit closes days. Returns the lines per day."""
    rig.post(LOG)
    rig.now += 61
    rig.post(LOG)
    return rig.lines()


def restart(rig: Rig) -> dict[str, int]:
    rig.checkpoint.close()
    rig.begin()
    return grow(rig)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_disk_that_is_full_at_any_byte_loses_no_day(
    tmp_path: Path, restarts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    expected = grow(rig)
    assert sum(expected.values()) == len(LOG.splitlines())
    for size in range(0, 24_000, 3000):
        with file_size_limit(size), suppress(OSError):
            rig.commit()
        assert rig.lines() == expected, size
        assert not restarts or restart(rig) == expected, size
    rig.commit()
    rig.commit()
    assert rig.lines() == restart(rig) == expected
    assert len(archive.read(tmp_path)[0]) > 10
    assert len(rig.ledger.books()) < 10
    sentences = [message.split(archive.NAME)[1] for message in caplog.messages]
    assert all(sentence.startswith((" cannot be written: ", " can be written again")) for sentence in sentences)
    assert restarts or len(sentences) <= 2, "one sentence for all failures"
    rig.checkpoint.close()


def test_a_process_that_is_killed_while_it_moves_days_loses_none(tmp_path: Path) -> None:
    """kill -9 at moments that are spread over the whole commit."""
    rig = Rig(tmp_path)
    expected = grow(rig)
    rig.checkpoint.close()
    for number in range(6):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                rig.begin()
                grow(rig)
                rig.commit()
                rig.commit()
            os._exit(0)
        time.sleep(number * 0.008)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        rig.begin()
        assert grow(rig) == expected
        rig.checkpoint.close()
    rig.begin()
    grow(rig)
    rig.commit()
    rig.commit()
    assert rig.lines() == expected
    assert len(archive.read(tmp_path)[0]) > 10


def torn(folder: Path) -> None:
    """Leave the archive as a process does that is killed in the middle of a transaction: with a hot journal."""
    path = folder / archive.NAME
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA cache_size = 1")
        database.execute("UPDATE days SET source = 'torn', book = zeroblob(9000)")
        for name in (archive.NAME, f"{archive.NAME}-journal"):
            shutil.copy(folder / name, folder / f"{name}.copy")
    for name in (archive.NAME, f"{archive.NAME}-journal"):
        (folder / f"{name}.copy").replace(folder / name)


def test_a_half_written_archive_is_read_and_written_as_before(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    expected = grow(rig)
    rig.commit()
    rig.commit()
    for use in (rig.lines, rig.commit):
        torn(tmp_path)
        assert (tmp_path / f"{archive.NAME}-journal").stat().st_size
        use()
        assert archive.read(tmp_path)[1] == []
        assert rig.lines() == expected
    rig.checkpoint.close()


def test_a_locked_archive_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_BUSY_TIMEOUT", 0.01)
    rig = Rig(tmp_path)
    expected = grow(rig)
    with closing(sqlite3.connect(tmp_path / archive.NAME)) as other:
        other.execute("BEGIN EXCLUSIVE")
        rig.commit()
        assert rig.ledger.books().keys() == rig.ledger.books().keys() | rig.ledger.closed_days().keys()
        other.rollback()
    assert restart(rig) == expected
    rig.commit()
    assert rig.lines() == expected
    assert len(archive.read(tmp_path)[0]) > 10
    rig.checkpoint.close()


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_no_file_costs_only_the_archive(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The closed days stay in the state until the archive can be written."""
    rig = Rig(tmp_path)
    path = rig.checkpoint.folder / archive.NAME
    MAKE[kind](path)
    expected = grow(rig)
    rig.commit()
    assert rig.lines() == expected
    assert kind in caplog.text
    books, (sentence,) = archive.read(rig.checkpoint.folder)
    assert not books
    assert kind in sentence
    rig.checkpoint.close()
