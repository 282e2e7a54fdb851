"""Lines and heartbeats: always whole, in the current file of the path, and counted if they cannot be written."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.proxy.log import RequestLog
from exporter.wsgi.log_file import LogFile
from parsers.dify.proxy import ProxyAttributes, ProxyLine
from tests.exporter.wsgi.test_log_file import file_size_limit

decode = msgspec.json.Decoder(ProxyLine).decode
REQUEST = ProxyAttributes(worker="", active_requests=0, method="GET", route="other", status_code=200)


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_424_011.404

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[RequestLog]:
    found = RequestLog(LogFile(str(tmp_path / "proxy.log")), "w", clock)
    yield found
    found.close()


def attributes(path: Path) -> list[ProxyAttributes]:
    return [decode(line).attributes for line in path.read_bytes().splitlines(keepends=True)]


def test_a_line_has_the_worker_and_its_active_requests(log: RequestLog, tmp_path: Path) -> None:
    log.active = 3
    log.write(REQUEST, "GET other 200 1.000", "0" * 32)
    line = decode((tmp_path / "proxy.log").read_bytes())
    assert (line.ts, line.message, line.trace_id) == ("2026-11-23T08:53:31.404Z", "GET other 200 1.000", "0" * 32)
    assert (line.attributes.worker, line.attributes.active_requests, line.attributes.dropped_lines) == ("w", 3, 0)


def test_a_heartbeat_is_written_after_a_change_and_every_ten_seconds(
    log: RequestLog, clock: Clock, tmp_path: Path
) -> None:
    counts = []
    for active in (0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2):
        log.active = active
        log.heartbeat()
        clock.now += 1
        counts.append(len(attributes(tmp_path / "proxy.log")))
    assert counts == [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]
    log.active = 1
    log.write(REQUEST, "", "")
    log.heartbeat()
    assert len(attributes(tmp_path / "proxy.log")) == 5


def test_a_clock_that_is_set_back_stops_no_heartbeat(log: RequestLog, clock: Clock, tmp_path: Path) -> None:
    log.heartbeat()
    clock.now -= 3600
    log.heartbeat()
    assert len(attributes(tmp_path / "proxy.log")) == 2


@pytest.mark.parametrize("rotation", ["rename", "copytruncate", "deleted", "a symlink moves on"])
def test_rotation(log: RequestLog, tmp_path: Path, rotation: str) -> None:
    path = tmp_path / "proxy.log"
    if rotation == "a symlink moves on":
        path.symlink_to(tmp_path / "one.log")
    log.write(REQUEST, "1", "")
    if rotation == "rename":
        path.rename(tmp_path / "proxy.log.1")
    elif rotation == "copytruncate":
        os.truncate(path, 0)
    elif rotation == "deleted":
        path.unlink()
    else:
        path.unlink()
        path.symlink_to(tmp_path / "two.log")
    log.write(REQUEST, "2", "")
    assert decode(path.read_bytes()).message == "2"


def test_the_next_line_counts_the_dropped_lines(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = RequestLog(LogFile(str(folder / "proxy.log")), "w")
    log.write(REQUEST, "lost", "")
    log.heartbeat()
    log.write(REQUEST, "lost", "")
    folder.mkdir()
    log.write(REQUEST, "written", "")
    log.write(REQUEST, "written", "")
    assert [found.dropped_lines for found in attributes(folder / "proxy.log")] == [2, 0]
    log.close()


def test_a_pipe_without_a_reader_does_not_block(log: RequestLog, tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    os.mkfifo(path)
    writer = threading.Thread(target=log.write, args=(REQUEST, "lost", ""), daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.write(REQUEST, "written", "")
    assert decode(os.read(reader, 65536)).attributes.dropped_lines == 1
    os.close(reader)


def test_a_partial_line_is_removed(log: RequestLog, tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    log.write(REQUEST, "1", "")
    size = path.stat().st_size
    with file_size_limit(size + 100):
        log.write(REQUEST, "2", "")
        assert path.stat().st_size == size
    log.write(REQUEST, "3", "")
    assert [found.dropped_lines for found in attributes(path)] == [0, 1]
