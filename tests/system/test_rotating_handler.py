"""B30: Python's RotatingFileHandler, as Dify uses it. One process is exact; several destroy each other's lines."""

import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.tail.source import Source
from exporter.tail.source_config import SourceConfig, SourceOptions
from exporter.tail.wake import Wake
from tests.exporter.reader import Lines, MemoryLedger
from tests.system.programs import until

ROOT = Path(__file__).parents[2]
LINES, SIZE = 40_000, 60_000


@pytest.mark.parametrize("processes", [1, 4])
def test_b30_every_line_that_can_be_read_is_counted_once(processes: int, tmp_path: Path) -> None:
    log, ledger, stop, wake = tmp_path / "server.log", MemoryLedger(), threading.Event(), Wake()
    log.touch()
    options = SourceOptions(SourceConfig("api", (str(log),), Lines()), 0.02)
    source = Source(options, ledger, time.monotonic, "beginning")
    thread = threading.Thread(target=source.run, args=(stop, wake))
    thread.start()
    try:
        script = [sys.executable, "-m", "tests.system.rotating_writer", str(log)]
        commands = [[*script, f"p{n}", str(LINES // processes), str(SIZE)] for n in range(processes)]
        with ThreadPoolExecutor() as pool:
            for done in pool.map(lambda command: subprocess.run(command, cwd=ROOT, timeout=60, check=False), commands):
                assert done.returncode == 0
        there = {line for file in tmp_path.glob("server.log*") for line in file.read_text().splitlines()}
        until("what is on disk to be counted", lambda: there <= set(ledger.lines), 20)
    finally:
        stop.set()
        wake.end()
        thread.join()
    counted = Counter(ledger.lines)
    assert max(counted.values()) == 1
    assert len(list(tmp_path.glob("server.log.*"))) >= 10
    if processes == 1:
        assert len(counted) == LINES
    else:
        assert len(counted) <= LINES
        print(f"{processes} processes: {LINES} written, {len(there)} on disk, {len(counted)} counted")
