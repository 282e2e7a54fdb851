"""Measures the cost of a commit: bytes per hour, time, and how long the lock of the ledger is held.

    python -m benchmarks.state --series 20000 --changing 0.05 --commits 360

With one scrape every ten seconds, 360 commits are an hour. "whole" writes the whole state at each commit.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.persistence import checkpoint
from exporter.persistence.checkpoint import Checkpoint
from parsers.batch import Batch, Request

_SCRAPES_PER_HOUR = 360
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
_STATUS_CODES = tuple(str(code) for code in (200, 201, 204, 400, 401, 403, 404, 429, 499, 502))


def filled_ledger(series: int) -> tuple[Ledger, list[Request]]:
    """A ledger with this many series in the request histogram, and one request for each series."""
    rng = random.Random(1)
    ledger = Ledger(Limits(series_per_counter=10**6, series_per_histogram=10**6), time.time)
    requests = [
        Request(
            _METHODS[number % 5],
            f"/v1/datasets/{{dataset_id}}/documents/{number // 50:05d}",
            _STATUS_CODES[number // 5 % 10],
            durations=tuple(round(rng.expovariate(1) * 1e9) for _ in range(5)),
        )
        for number in range(series)
    ]
    ledger.enter("nginx", Batch(records=tuple(requests)))
    return ledger, requests


def measured(step: Callable[[], object]) -> float:
    """The duration of a step in milliseconds."""
    begun = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - begun)


def run(series: int, changing: float, commits: int, whole: bool) -> tuple[int, list[float], list[float]]:
    """Bytes written, and for each commit its milliseconds and how long it held the lock of the ledger."""
    written, write = 0, checkpoint._write

    def counting(path: Path, data: bytes, *more: int) -> None:
        nonlocal written
        written += len(data)
        write(path, data, *more)

    rng = random.Random(2)
    ledger, requests = filled_ledger(series)
    times, holds = [], []
    checkpoint._write = counting
    try:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            stored = Checkpoint(Path(folder))
            stored.save(ledger.changes())
            written = 0
            for _ in range(commits):
                ledger.enter("nginx", Batch(records=tuple(rng.sample(requests, round(series * changing)))))
                changes = []
                holds.append(measured(lambda changes=changes: changes.append(ledger.changes())))
                stored._size = None if whole else stored._size
                times.append(holds[-1] + measured(lambda changes=changes: stored.save(changes[0])))
            stored.close()
    finally:
        checkpoint._write = write
    return written, times, holds


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    arguments.add_argument("--series", type=int, default=20_000)
    arguments.add_argument("--changing", type=float, default=0.05)
    arguments.add_argument("--commits", type=int, default=_SCRAPES_PER_HOUR)
    given = arguments.parse_args()
    print(f"{given.series} series of a histogram, {given.changing:.0%} change from commit to commit")
    print(f"{'':<8} {'MB/hour':>8} {'GB/day':>7} {'commit p50':>11} {'p99':>9} {'lock p50':>9} {'max':>9}")
    for name, whole, commits in (("changes", False, given.commits), ("whole", True, min(given.commits, 40))):
        written, times, holds = run(given.series, given.changing, commits, whole)
        hour = written / commits * _SCRAPES_PER_HOUR / 1e6
        p99 = statistics.quantiles(times, n=100)[98]
        print(
            f"{name:<8} {hour:>8.1f} {hour * 24 / 1000:>7.2f} {statistics.median(times):>8.1f} ms {p99:>6.1f} ms "
            f"{statistics.median(holds):>6.2f} ms {max(holds):>6.2f} ms"
        )


if __name__ == "__main__":
    main()
