"""The history by day of a real `serve`: the days are what was written, whatever happens to the process and the log."""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.ledger.book import LINES, REQUESTS, BookKey, Entries
from exporter.persistence import archive
from exporter.persistence.checkpoint import read_state
from tests.system.exporter import COMMAND, serving
from tests.system.programs import until
from tests.system.stack import ROOT
from tests.system.test_durability import mounted

pytestmark = pytest.mark.system

SOURCE = '[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\n[history]\ntimezone = "Asia/Shanghai"\n'
STATE = Path(".dify-exporter/state")
FIRST = datetime(2026, 9, 1, tzinfo=UTC)


def days(folder: Path) -> dict[BookKey, Entries]:
    """All stored days."""
    state, _ = read_state(folder / STATE)
    stored = {} if state is None else state.history
    books = {key: book for key, book in stored.items() if book is not None}
    return {**books, **archive.read(folder / STATE)[0]}  # type: ignore[dict-item]


class Log:
    """An nginx log whose time is simulated: a day takes a few hundred lines. `written` counts requests by day."""

    def __init__(self, folder: Path) -> None:
        self.path, self.at, self.lines = folder / "access.log", FIRST, 0
        self.written: Counter[tuple[str, str]] = Counter()
        self.chance = random.Random(7)

    def write(self, lines: int) -> None:
        with self.path.open("a") as file:
            for _ in range(lines):
                self.at += timedelta(seconds=self.chance.randrange(600))
                status = self.chance.choice([200, 200, 404, 500])
                file.write(
                    f'127.0.0.1 - - [{self.at:%d/%b/%Y:%H:%M:%S %z}] "GET /v1/info HTTP/1.1" {status} 47 "-" "c" "-"\n'
                )
                day = (self.at + timedelta(hours=8)).date().isoformat()
                self.written[day, f"{status // 100}xx"] += 1
                self.lines += 1

    def rotate(self) -> None:
        self.path.replace(self.path.with_name(f"access.log.{self.chance.randrange(10**9)}"))


def test_a_week_of_kills_and_rotations(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(300)
    keys = 'start_at = "beginning"'
    for round_number in range(7):
        with serving(tmp_path, SOURCE, exporter_keys=keys) as exporter:
            for _ in range(3):
                log.write(150)
                if log.chance.random() < 0.5:
                    until("the lines", lambda: exporter.value("dify_requests_total") == log.lines)
                if round_number % 2 and log.chance.random() < 0.5:
                    log.rotate()
                    log.write(1)
            if round_number % 3:
                exporter.process.send(signal.SIGKILL)
                exporter.process.ended()
    with serving(tmp_path, SOURCE, exporter_keys=keys) as exporter:
        until("all lines", lambda: exporter.value("dify_requests_total") == log.lines)
        assert "history" not in exporter.metrics()
        exporter.process.send(signal.SIGTERM)
        exporter.process.ended()
    found = {
        (day, labels[2]): number
        for (_, day, _), book in days(tmp_path).items()
        for labels, number in book.items()
        if labels[0] == REQUESTS
    }
    assert found == dict(log.written)
    assert len({day for day, _ in found}) >= 7
    report = json.loads(subprocess.check_output([COMMAND, "report", "--by", "day", "--output", "json"], cwd=tmp_path))
    by_day = {row["time"]: row["requests"] for row in report["rows"]}
    assert by_day == {day: sum(n for (each, _), n in log.written.items() if each == day) for day, _ in log.written}
    assert report["timezone"] == "Asia/Shanghai"
    begins = f"{min(by_day)}: the history of source nginx begins on this day, which may not be whole"
    assert begins in report["incomplete"]
    assert sum(book[LINES,] for book in days(tmp_path).values()) == log.lines  # type: ignore[misc]


@pytest.mark.privileged
def test_days_survive_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "-o size=64k") as words:
        command = [*words, sys.executable, "-m", "tests.system.history_disk", str(tmp_path / "state")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    sentences = [line.partition("history.db ")[2] for line in done.stdout.splitlines()]
    assert sentences == [
        *["cannot be written: database or disk is full; closed days stay in the state until it can"]
        * 2,  # at a start too
        "cannot be written: Read-only file system; closed days stay in the state until it can",
        "can be written again",
    ]
