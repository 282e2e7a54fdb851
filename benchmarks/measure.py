"""Measures the cost of a step of this process, or of a whole program."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from statistics import median

from msgspec import Struct

#: The size, the processor time of all of it in nanoseconds, and its number of units.
Row = tuple[int, float, int]

_DEADLINE = 600.0


class Cost(Struct, frozen=True):
    """Seconds. The processor time is that of all threads and child processes. `memory` is that of the largest process,
    in megabytes.
    """

    wall: float
    processor: float
    memory: float


def processor(step: Callable[[], object], rounds: int) -> float:
    """Processor time of this process in nanoseconds, the median of the rounds."""

    def once() -> int:
        begun = time.process_time_ns()
        step()
        return time.process_time_ns() - begun

    return median(once() for _ in range(rounds))


def run(
    command: list[str], environment: Mapping[str, str] | None = None, has_read: Callable[[], bool] | None = None
) -> Cost:
    """Run a program to its end, or with `has_read` until that is true. Raises SystemExit if the program fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while has_read is not None and not has_read():
        if process.poll() is not None or time.perf_counter() - begun > _DEADLINE:
            process.kill()
            raise SystemExit(f"{command[0]} did not read the whole log")
        time.sleep(0.1)
    wall = time.perf_counter() - begun
    if has_read is not None:
        process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if has_read is None:
        wall = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(f"{command[0]} ended with the exit code {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
