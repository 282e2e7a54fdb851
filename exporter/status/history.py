"""The last hour and the last day in bounded memory, for the charts and rates of the status page.

A point holds the totals of each source. At first the points are one second apart, so that charts appear at once. As the
history grows, points are removed until they are 15 s apart in the last hour, and 6 min apart in the last day. A
complete snapshot is kept for each of the last five minutes; the rates and quantiles of routes are computed from these
snapshots.

The points are kept over a restart in the file `charts` of the state folder. It is written every few minutes and at the
end, without a flush to the disk, because losing it costs only the charts.
"""

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.snapshot import Snapshot
from exporter.process.special_files import refuse_special

#: The ranges of the charts in seconds. The first one is shown unless another one is chosen.
RANGES = {"1h": 3600.0, "24h": 86400.0}
_HOUR = RANGES["1h"]

_MIN_STEP = 1.0  # seconds between two points
_MAX_STEPS = 240  # in a full range
_STEP_RATIO = 1 / 32  # the step as a fraction of the length of the history, while it is shorter than its range
_SNAPSHOT_INTERVAL = 60.0
_MAX_SNAPSHOTS = 6


class Totals(Struct, frozen=True):
    """The counts of one source since its first line."""

    lines: int = 0
    unparsed: int = 0
    requests: int = 0
    failed: int = 0


class Point(Struct, frozen=True):
    """The totals of all sources at one time. `at` is in seconds, on a monotonic clock."""

    at: float
    totals: Mapping[str, Totals]


class History:
    """The points and snapshots. One thread adds them; any thread may read them."""

    def __init__(self) -> None:
        #: The points of each range, the oldest first. Those of an earlier process may be put there before any is added.
        self.points: dict[str, list[Point]] = {name: [] for name in RANGES}
        self._snapshots: deque[tuple[float, Snapshot]] = deque(maxlen=_MAX_SNAPSHOTS)

    def step(self) -> float:
        """Seconds from the newest point to the next one."""
        return _step(self.points["1h"], _HOUR)

    def add(self, at: float, snapshot: Snapshot) -> None:
        """Add a point. `at` is in seconds, on a monotonic clock."""
        point = Point(at, totals_by_source(snapshot))
        for name, length in RANGES.items():
            self.points[name] = [*_thinned(self.points[name], at, length), point]
        if not self._snapshots or at - self._snapshots[-1][0] >= _SNAPSHOT_INTERVAL:
            self._snapshots.append((at, snapshot))

    def oldest_snapshot(self) -> tuple[float, Snapshot] | None:
        """The time and the oldest snapshot, which is five minutes old after the first five minutes; None at first."""
        return next(iter(list(self._snapshots)), None)


def _step(points: Sequence[Point], length: float) -> float:
    """Seconds between two points of a range. `length` is that of the range when it is full."""
    covered = points[-1].at - points[0].at if points else 0.0
    return min(length / _MAX_STEPS, max(_MIN_STEP, covered * _STEP_RATIO))


def _thinned(points: Sequence[Point], at: float, length: float) -> list[Point]:
    """The points of a range, about one step apart. The tolerance of 10 % is for a timer that fires early."""
    step, kept = _step(points, length), list[Point]()
    for point in points:
        if at - point.at <= length and (not kept or point.at - kept[-1].at > 0.9 * step):
            kept.append(point)
    return kept


def totals_by_source(snapshot: Snapshot) -> dict[str, Totals]:
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
    """The rate per second between each two adjacent points, each with its age in seconds before the newest point.

    `name` is a field of `Totals`.
    """
    result = []
    for earlier, later in pairwise(points):
        if source in earlier.totals and source in later.totals:
            increase = getattr(later.totals[source], name) - getattr(earlier.totals[source], name)
            result.append((points[-1].at - later.at, max(0.0, increase / max(later.at - earlier.at, 1e-9))))
    return result


NAME = "charts"

#: The largest file that is read, in MiB. A thousand sources need half of it.
_MAX_SIZE = 64

_log = logging.getLogger(__name__)
_Points = Mapping[str, Sequence[Point]]


def save(folder: Path, points: _Points) -> None:
    """Replace the file. Times are stored by the wall clock, because the monotonic one starts with the machine."""
    new, data = folder / f"{NAME}.new", msgspec.msgpack.encode(_shifted(points, time.time() - time.monotonic()))
    try:
        new.unlink(missing_ok=True)
        with open(new, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
        os.replace(new, folder / NAME)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # on a full disk the state needs the space
        # Only debug: the commit of the state already reports a folder that cannot be written.
        _log.debug("the charts are not saved: %s", error)


def load(folder: Path) -> dict[str, list[Point]]:
    """The points of the file by the name of their range, without points in no range (of the future or too old); empty
    if it cannot be used.
    """
    try:
        refuse_special(folder / NAME)
        with (folder / NAME).open("rb") as file:
            if os.fstat(file.fileno()).st_size > _MAX_SIZE << 20:
                raise OSError(f"it is larger than {_MAX_SIZE} MiB")
            stored = msgspec.msgpack.decode(file.read(), type=dict[str, list[Point]])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("the charts of the status page start empty: %s: %s", folder / NAME, error)
        return {}
    now = time.monotonic()
    oldest, found = now - max(RANGES.values()), _shifted(stored, now - time.time())
    return {name: [p for p in points if oldest <= p.at <= now] for name, points in found.items() if name in RANGES}


def _shifted(points: _Points, seconds: float) -> dict[str, list[Point]]:
    return {name: [Point(point.at + seconds, point.totals) for point in each] for name, each in points.items()}
