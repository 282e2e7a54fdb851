"""Each fact is in the log once, whatever comes twice, is cut or is restarted; every item is counted once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.receive.fact_log import FactLog
from exporter.wsgi.log_file import LogFile
from parsers.tracing import Fact, Reading
from tests.exporter.wsgi.test_log_file import file_size_limit


class Clock:
    now = 1_795_424_011.404

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receive.log"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(path: Path, clock: Clock) -> Iterator[FactLog]:
    file = LogFile(str(path))
    yield FactLog(file, clock=clock)
    file.close()


def fact(key: str, rest: Fact | None = None) -> Fact:
    return Fact(key, "otel", f"{key}\n".encode(), rest)


def reading(*facts: Fact, **others: dict[str, int]) -> Reading:
    return Reading([*facts], others.get("ignored", {}), others.get("rejected", {}))


def facts(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("{")]


def items(path: Path) -> list[dict[str, Any]]:
    """The items of the last heartbeat."""
    line = [line for line in path.read_text().splitlines() if line.startswith("{")][-1]
    found: list[dict[str, Any]] = json.loads(line)["attributes"]["dify.receiver.items"]
    return found


def test_a_fact_that_comes_again_is_a_duplicate(log: FactLog, path: Path) -> None:
    assert log.write(reading(fact("a"), fact("b"), fact("a"), ignored={"none": 7}, rejected={"langfuse": 1}))
    assert log.write(reading(fact("b"), fact("c")))
    assert facts(path) == ["a", "b", "c"]
    log.write_heartbeat()
    assert items(path) == [
        {"dialect": "langfuse", "outcome": "rejected", "count": 1},
        {"dialect": "none", "outcome": "ignored", "count": 7},
        {"dialect": "otel", "outcome": "duplicate", "count": 2},
        {"dialect": "otel", "outcome": "written", "count": 3},
    ]
    log.write_heartbeat()
    assert items(path) == []


def test_only_the_rest_of_a_known_fact_is_written(log: FactLog, path: Path) -> None:
    """Two attempts of one node: one node run, and the tokens of both."""
    first, second = fact("node:1", fact("usage:1:10")), fact("node:1", fact("usage:1:20"))
    assert log.write(reading(first, second, first))
    assert log.write(reading(second, fact("usage:1:20")))
    assert facts(path) == ["node:1", "usage:1:20"]


def test_a_run_that_another_channel_has_sent_is_no_second_run(log: FactLog, path: Path) -> None:
    """The span of a run does not know the run's id; its start node does. They come in any order, or in one request."""
    runner, start = fact("span:r1"), fact("node:s1")._replace(alias=("span:r1", "run:1"))
    assert log.write(reading(start))
    assert log.write(reading(fact("run:1")))
    assert log.write(reading(runner))
    runner, start = fact("span:r2"), fact("node:s2")._replace(alias=("span:r2", "run:2"))
    assert log.write(reading(runner, start, fact("run:2")))
    assert log.write(reading(fact("run:2"), runner))
    assert facts(path) == ["node:s1", "run:1", "span:r2", "node:s2"]


def test_a_cut_write_keeps_its_whole_lines_and_the_rest_comes_again(log: FactLog, path: Path) -> None:
    batch = reading(fact("aaa"), fact("bbb"), fact("ccc"), ignored={"none": 5})
    with file_size_limit(9):
        assert not log.write(batch)
        assert path.read_bytes() == b"aaa\nbbb\n"
    assert log.write(batch)
    assert facts(path) == ["aaa", "bbb", "ccc"]
    log.write_heartbeat()
    assert items(path) == [
        {"dialect": "none", "outcome": "ignored", "count": 5},
        {"dialect": "otel", "outcome": "duplicate", "count": 2},
        {"dialect": "otel", "outcome": "written", "count": 3},
    ]


def test_nothing_new_needs_no_disk(log: FactLog, path: Path) -> None:
    assert log.write(reading(fact("aaa")))
    with file_size_limit(4):
        assert log.write(reading(fact("aaa"), ignored={"none": 1}))
        assert not log.write(reading(fact("bbb")))


def test_a_heartbeat_is_written_every_ten_seconds_and_loses_no_number(log: FactLog, path: Path, clock: Clock) -> None:
    log.every_second()
    log.write(reading(fact("a")))
    clock.now += 9.9
    log.every_second()
    assert path.read_text().count('dify.receiver.heartbeat","a') == 1
    clock.now += 0.1
    with file_size_limit(path.stat().st_size):
        log.every_second()
    assert items(path) == []
    log.every_second()
    assert items(path) == [{"dialect": "otel", "outcome": "written", "count": 1}]


def test_a_clock_that_is_set_back_stops_no_heartbeat(log: FactLog, path: Path, clock: Clock) -> None:
    log.every_second()
    clock.now -= 3600
    log.every_second()
    assert path.read_text().count("\n") == 2
