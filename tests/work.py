"""Counts of work, which tests assert where a time would depend on the machine."""

import sys
from collections.abc import Callable


def calls_of(action: Callable[[], object]) -> int:
    """The number of calls of functions, also of those in C, that an action makes."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls
