"""The last hour, in bounded memory: for the charts and the rates of the status page.

A point holds the totals of each source: one a second at first, so that there is a chart at once; the longer the
history, the further they are apart, up to 15 s, also those that are there already. A whole snapshot is kept for each
of the last five minutes, from which the routes' rates and quantiles are taken.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.ledger import Snapshot

_HOUR = 3600.0
_CLOSEST, _WIDEST = 1.0, 15.0
_GROWTH = 1 / 32  # of the history's length is a step
_MINUTE = 60.0
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
        self._points: list[Point] = []
        self._snapshots: deque[tuple[float, Snapshot]] = deque(maxlen=_SNAPSHOTS)

    def step(self) -> float:
        """Seconds from the newest point to the next one."""
        length = self._points[-1].at - self._points[0].at if self._points else 0.0
        return min(_WIDEST, max(_CLOSEST, length * _GROWTH))

    def add(self, at: float, snapshot: Snapshot) -> None:
        self._points = [*self._thinned(at), Point(at, counted(snapshot))]
        if not self._snapshots or at - self._snapshots[-1][0] >= _MINUTE:
            self._snapshots.append((at, snapshot))

    def _thinned(self, at: float) -> list[Point]:
        """Of the last hour, and a step apart; a timer may be a little early."""
        step, kept = self.step(), list[Point]()
        for point in self._points:
            if at - point.at <= _HOUR and (not kept or point.at - kept[-1].at > 0.9 * step):
                kept.append(point)
        return kept

    def points(self) -> Sequence[Point]:
        return self._points

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


def rates(points: Sequence[Point], source: str, name: str) -> list[tuple[float, float]]:
    """From one point to the next: the seconds that have passed up to the newest point since, and the rate a second."""
    found = []
    for earlier, later in pairwise(points):
        if source in earlier.totals and source in later.totals:
            more = getattr(later.totals[source], name) - getattr(earlier.totals[source], name)
            found.append((points[-1].at - later.at, max(0.0, more / max(later.at - earlier.at, 1e-9))))
    return found
