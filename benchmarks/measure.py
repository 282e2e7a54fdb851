"""Processor time of a step, for the tables of growth."""

import time
from collections.abc import Callable
from statistics import median

#: What was measured at which size: nanoseconds of the processor for all of it, and of how many units it consists.
Row = tuple[int, float, int]


def processor(step: Callable[[], object], rounds: int) -> float:
    """Nanoseconds of this process, the median of the rounds."""

    def once() -> int:
        begun = time.process_time_ns()
        step()
        return time.process_time_ns() - begun

    return median(once() for _ in range(rounds))
