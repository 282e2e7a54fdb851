"""The newest keys are remembered, and found again in the log and its rotated files."""

import os
from pathlib import Path

import pytest

from exporter.receive.fact_log import FactLog, newest_first
from exporter.receive.runs import KnownKeys
from exporter.wsgi.log_file import LogFile


def line(key: str) -> bytes:
    return (
        '{"ts":"2026-11-30T00:00:00.000Z","severity":"INFO","service":"dify-exporter-receive","caller":"receive",'
        '"message":"dify.workflow.run","attributes":{"dify.event.name":"dify.workflow.run",'
        f'"dify.span.key":"{key}","dify.span.dialect":"otel"}}}}\n'
    ).encode()


def found(log: Path, limit: int = 100_000) -> list[str]:
    facts = FactLog(LogFile(str(log)), limit)
    facts.find_again(newest_first(str(log)))
    return [*facts._keys._keys]


def test_the_oldest_keys_are_forgotten() -> None:
    keys = KnownKeys(limit=3)
    for key in ("a", "b", "c", "b", "d"):
        keys.add(key)
    assert [key in keys for key in "abcd"] == [False, True, True, True]


def test_two_keys_of_one_fact() -> None:
    keys = KnownKeys(limit=3)
    keys.add_alias("span:1", "run:1")
    assert "span:1" not in keys
    keys.add("run:1")
    assert "span:1" in keys
    keys.add("span:2")
    keys.add_alias("span:2", "run:2")
    assert "run:2" in keys
    for number in range(3, 9):
        keys.add_alias(f"span:{number}", f"run:{number}")
        keys.add(f"span:{number}")
    assert len(keys) <= 3
    assert ("span:1" in keys, "run:8" in keys, "span:8" in keys) == (False, True, True)


def test_keys_are_found_again_from_the_end_over_blocks_and_rotated_files(tmp_path: Path) -> None:
    log = tmp_path / "receive.log"
    numbers = [f"run:{number}" for number in range(20_000)]
    log.write_bytes(b"".join(map(line, numbers[15_000:])))
    log.with_name("receive.log.1").write_bytes(b"not ours\n" + b"".join(map(line, numbers[5_000:15_000])))
    log.with_name("receive-20261129.log").write_bytes(b"".join(map(line, numbers[:5_000])))
    log.with_name("receive-20261129.log.gz").write_bytes(b"packed")
    (tmp_path / "receiver.log.1").write_bytes(line("run:other"))
    os.utime(log.with_name("receive-20261129.log"), (1, 1))
    assert found(log) == numbers
    assert found(log, 7_000) == numbers[13_000:]
    assert found(log, 3) == numbers[-3:]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "receive.log"
    assert found(log) == []
    log.write_bytes(b"x" * (5 << 20) + b"\n" + line("run:1") + b'{"ts":"half')
    (tmp_path / "receive.log.1").mkdir()
    assert found(log) == ["run:1"]


@pytest.mark.parametrize("name", ["receive.log-1", "receive.log.1", "receive.log"])
@pytest.mark.parametrize("kind", ["a link to itself", "a FIFO", "a folder"])
def test_no_neighbour_of_the_log_stops_the_start(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "a FIFO":
        os.mkfifo(tmp_path / name)
    elif kind == "a folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).symlink_to(name)
    assert not [*newest_first(str(tmp_path / "receive.log"))]
    assert not [*newest_first(str(tmp_path / "none" / "receive.log"))]
