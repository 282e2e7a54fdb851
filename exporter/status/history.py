"""The last hour, in bounded memory: for the charts and the rates of the status page.

A point holds the totals of each source. The first points are one second apart, so that there is a chart at once; as the
history grows, points are thinned until they are 15 s apart. A whole snapshot is kept for each of the last five minutes;
the rates and quantiles of routes are computed from these.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.ledger import Snapshot

_HOUR = 3600.0
_CLOSEST, _WIDEST = 1.0, 15.0
_GROWTH = 1 / 32  # a step, as a share of the history's length
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
    """One thread adds points, any thread reads them."""

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
        """The points of the last hour, about a step apart; a timer may be a little early."""
        step, kept = self.step(), list[Point]()
        for point in self._points:
            if at - point.at <= _HOUR and (not kept or point.at - kept[-1].at > 0.9 * step):
                kept.append(point)
        return kept

    def points(self) -> Sequence[Point]:
        return self._points

    def before(self) -> tuple[float, Snapshot] | None:
        """The oldest snapshot with its time; it is five minutes old once the history is as long."""
        return next(iter(list(self._snapshots)), None)


def counted(snapshot: Snapshot) -> dict[str, Totals]:
    """The totals of each source."""
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
    """Between each two points: seconds from the later one to the newest point, and the rate per second."""
    found = []
    for earlier, later in pairwise(points):
        if source in earlier.totals and source in later.totals:
            more = getattr(later.totals[source], name) - getattr(earlier.totals[source], name)
            found.append((points[-1].at - later.at, max(0.0, more / max(later.at - earlier.at, 1e-9))))
    return found
