"""What the writer or the rotator does between two system calls of the tail; test_tail_interleaved.py tries all of them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporter.reader import Reader, append


@pytest.mark.parametrize("how", ["rename", "truncate", "half"])
def test_b13_b19_a_writer_that_is_faster_than_we_look(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found under a real logrotate: a file that has grown since it was looked at has not shrunk."""
    log, real, raced = tmp_path / "log", os.stat, [str(n) for n in range(30)]
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


def test_b17_names_that_move_at_every_look_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred renames at each rotation, on a machine so busy that a look takes as long."""
    log = tmp_path / "access.log"
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    append(log, "a2\n")
    log.rename(log.with_name("access.log.2"))
    append(log, "b1\n")
    log.rename(log.with_name("access.log.1"))
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


def test_b20_d43_what_grows_where_nothing_can_be_read_was_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the writer between two system calls: the size of what had replaced it was taken for its own."""
    log = tmp_path / "access.log"
    append(log, "a1\n")
    reader = Reader(log)
    reader.poll()
    log.with_name("access.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    append(log, "b1\n" * 100)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        assert reader.poll() == []
    assert reader.wait(12) == ["b1"] * 100
    assert (reader.ledger.truncations, reader.ledger.lost_bytes) == (1, 0)
