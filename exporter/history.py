"""The last hour, in bounded memory: for the charts and the rates of the status page.

A point every 15 s holds the totals of each source; a whole snapshot is kept for each of the last five minutes,
from which the routes' rates and quantiles are taken.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger import Snapshot

#: Seconds between two points.
STEP = 15.0
_POINTS = 241
_STEPS_A_SNAPSHOT = 4
_SNAPSHOTS = 6


class Totals(Struct, frozen=True):
    """What one source has counted since it was first seen."""

    lines: int = 0
    unparsed: int = 0
    requests: int = 0
    failed: int = 0


class Point(Struct, frozen=True):
    """`at` is monotonic, in seconds."""

    at: float
    totals: Mapping[str, Totals]


class History:
    """One thread adds, any reads."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=_POINTS)
        self._snapshots: deque[tuple[float, Snapshot]] = deque(maxlen=_SNAPSHOTS)
        self._added = 0

    def add(self, at: float, snapshot: Snapshot) -> None:
        self._points.append(Point(at, counted(snapshot)))
        if self._added % _STEPS_A_SNAPSHOT == 0:
            self._snapshots.append((at, snapshot))
        self._added += 1

    def points(self) -> Sequence[Point]:
        return list(self._points)

    def before(self) -> tuple[float, Snapshot] | None:
        """The oldest snapshot, five minutes old once there are so many, with its time."""
        return next(iter(list(self._snapshots)), None)


def counted(snapshot: Snapshot) -> dict[str, Totals]:
    """By source."""
    counts: dict[str, Counter[str]] = {}
    for (source, outcome), count in snapshot.counters[c.LINES].items():
        of_source = counts.setdefault(source, Counter())
        of_source["lines"] += int(count)
        if outcome == "unparsed":
            of_source["unparsed"] += int(count)
    for name, metric in (("requests", c.REQUESTS), ("failed", c.FAILED_REQUESTS)):
        for (source, *_), count in snapshot.counters[metric].items():
            counts.setdefault(source, Counter())[name] += int(count)
    return {source: Totals(**found) for source, found in counts.items()}


def rates(points: Sequence[Point], source: str, name: str) -> list[float]:
    """Per second, from one point to the next."""
    found = []
    for earlier, later in pairwise(points):
        if source in earlier.totals and source in later.totals:
            more = getattr(later.totals[source], name) - getattr(earlier.totals[source], name)
            found.append(max(0.0, more / max(later.at - earlier.at, 1e-9)))
    return found
