"""Measures the processor time of a step."""

import time
from collections.abc import Callable
from statistics import median

#: The size, the processor time of all of it in nanoseconds, and its number of units.
Row = tuple[int, float, int]


def processor(step: Callable[[], object], rounds: int) -> float:
    """Processor time of this process in nanoseconds, the median of the rounds."""

    def once() -> int:
        begun = time.process_time_ns()
        step()
        return time.process_time_ns() - begun

    return median(once() for _ in range(rounds))
