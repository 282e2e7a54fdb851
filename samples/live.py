"""`make run`: serves copies of the samples that grow while it runs, so that the status page shows life.

The copies, and the state of the exporter, are in a temporary folder that is removed at the end. The samples themselves
stay as they are. The configuration is that of the repository: paths below `samples/` name the copies.
"""

import hashlib
import math
import random
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent

#: What the served folder does not share with the repository.
OWN = {"samples", ".dify-exporter", ".git", ".venv"}

#: Seconds between two writes, the mean number of records per second and log, and the period of its waves in seconds.
TICK, RATE, PERIOD = 0.5, 0.6, 90.0

#: The forms of times in the samples, all in UTC, and the same moment for strftime.
TIMES = (
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"), "%Y-%m-%dT%H:%M:%S"),
    (re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "%Y-%m-%d %H:%M:%S"),
    (re.compile(rb"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d"), "%d/%b/%Y:%H:%M:%S"),
    (re.compile(rb"\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d"), "%Y/%m/%d - %H:%M:%S"),
    (re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "%Y/%m/%d %H:%M:%S"),
    (re.compile(rb"(?m)^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"), "%b %e %H:%M:%S"),
)
#: In the spans of OTLP, whose times and durations are numbers. A log of them does not grow.
UNMOVED = b"TimeUnixNano"
TRACE_ID = re.compile(rb"\b[0-9a-f]{32}\b")


def records(log: bytes) -> list[bytes]:
    """The lines of a log. A line without a time stays with the one before it, if any line has a time."""
    found: list[bytes] = []
    for line in log.splitlines(True):
        if any(form.search(line) for form, _ in TIMES) or not any(form.search(log) for form, _ in TIMES):
            found.append(line)
        elif found:
            found[-1] += line
    return found


def moved(record: bytes, now: datetime, cycle: int) -> bytes:
    """The record as if it were written now. Each cycle through a log has its own trace ids, because runs have them."""
    for form, written in TIMES:
        record = form.sub(now.strftime(written).encode(), record)
    return TRACE_ID.sub(lambda found: hashlib.md5(found[0] + b"%d" % cycle).hexdigest().encode(), record)


class GrowingLog:
    """One log, to whose end its own records are written again and again, in their order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phase = random.uniform(0, 2 * math.pi)
        self._records = self._endless(records(path.read_bytes()))

    def grow(self, seconds: float) -> None:
        """Write the records of one tick, at `seconds` since the start."""
        mean = RATE * TICK * (1 + math.sin(2 * math.pi * seconds / PERIOD + self._phase))
        wanted = int(mean + random.random())
        now = datetime.now(UTC)
        with self._path.open("ab") as log:
            for _ in range(wanted):
                record, cycle = next(self._records)
                log.write(moved(record, now, cycle))

    @staticmethod
    def _endless(found: list[bytes]) -> Iterator[tuple[bytes, int]]:
        return ((record, cycle) for cycle in count(1) for record in found)


def prepare(folder: Path) -> list[GrowingLog]:
    """Fill a folder with copies of the samples, and with links to everything else in the repository."""
    for entry in ROOT.iterdir():
        if entry.name not in OWN:
            (folder / entry.name).symlink_to(entry)
    (folder / "samples").mkdir()
    copies = [Path(shutil.copy2(sample, folder / "samples")) for sample in sorted(ROOT.glob("samples/*.log"))]
    return [GrowingLog(copy) for copy in copies if UNMOVED not in copy.read_bytes()]


def main() -> int:
    """Serve until the exporter ends. Returns its exit code."""
    with TemporaryDirectory(prefix="dify-exporter-") as name:
        logs = prepare(Path(name))
        print("These are growing copies of samples/. Some lines are damaged on purpose. Ctrl-C ends it.", flush=True)
        serve = [str(Path(sys.executable).with_name("dify-exporter")), "serve", "--config", f"{name}/exporter.toml"]
        with Popen([*serve, *sys.argv[1:]]) as exporter:
            signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to the exporter, too
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda number, _: exporter.send_signal(number))
            for tick in count(1):
                try:
                    return exporter.wait(TICK)
                except TimeoutExpired:
                    for log in logs:
                        log.grow(tick * TICK)
    raise AssertionError("the loop ends only with the exporter")


if __name__ == "__main__":
    sys.exit(main())
