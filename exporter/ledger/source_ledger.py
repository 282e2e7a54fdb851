"""What the records of one source can change, and the time at which they count."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from exporter.ledger.budgets import Budgets
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.history import SourceBooks
from exporter.ledger.joins import Joins
from exporter.ledger.prices import Prices
from exporter.ledger.reached_times import ReachedTimes
from exporter.ledger.series import Series
from exporter.ledger.sums import Sums
from exporter.tail.position import Position
from parsers.batch import Active
from parsers.slices import Parse, Slicer
from parsers.values.numbers import SECOND


class SourceLedger(Struct):
    """Everything that the records of one source can change.

    `positions` are those of its file generations. `searched_paths` has its paths that were searched completely, as
    keys. Until `searched_until` (wall clock, nanoseconds; 0 if nothing was searched), each log that appeared there was
    seen. `has_searched`: this process has searched the paths. `active` has the requests of each proxy worker. `reached`
    says how far its files were read.

    `clock` returns the wall clock in seconds. `last_at` is the newest event time, and `usage_at` is the time at which
    a usage without a time counts; both are in nanoseconds, and 0 if none is known yet. `file` is the file generation
    of the batch that is being entered, "" in a replay. `has_telemetry` is True if telemetry reports the same runs as
    the worker's tasks. `books` are those of the history by day. `waiting` are the sums of records that are not entered
    yet. `parse` parses a part of a window, and `slicers` have the running maximum of the event times of each file.
    """

    source: str
    series: Series
    prices: Prices
    budgets: Budgets
    clock: Callable[[], float]
    joins: Joins
    books: SourceBooks
    reached: ReachedTimes
    positions: ChangeTracker[str, Position] = field(default_factory=ChangeTracker)
    searched_paths: ChangeTracker[str, bool] = field(default_factory=ChangeTracker)
    active: ChangeTracker[str, Active] = field(default_factory=ChangeTracker)
    searched_until: int = 0
    has_searched: bool = False
    last_at: int = 0
    file: str = ""
    has_telemetry: bool = False
    usage_at: int = 0
    waiting: Sums = field(default_factory=Sums)
    parse: Parse | None = None
    slicers: dict[str, Slicer] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, ChangeTracker[Any, Any]]:
        """All stored tables, by their fields of `exporter.ledger.state.State`."""
        joins = self.joins
        return {
            "positions": self.positions,
            "searched_paths": self.searched_paths,
            "active": self.active,
            "waiting": joins.waiting,
            "held": joins.held,
            "errors": joins.errors,
            "streams": joins.streams.blocks,
            "span_apps": joins.spans.known,
            "of_spans": joins.spans.waiting,
        }

    def restore(self, stored: Mapping[str, Mapping[Any, Any]]) -> None:
        def by_arrival(entry: tuple[Any, Any]) -> int:  # its time in nanoseconds, or the number of a block
            return entry[0] if isinstance(entry[0], int) else getattr(entry[1], "at", None) or 0

        for name, table in self.tables.items():
            table.enter(dict(sorted(stored[name].items(), key=by_arrival)))
        self.joins.restored()

    def set_searched_paths(self, paths: Iterable[str]) -> None:
        wanted = dict.fromkeys(paths, True)
        for path in self.searched_paths.keys() - wanted.keys():
            del self.searched_paths[path]
        self.searched_paths.enter({path: True for path in wanted if path not in self.searched_paths})
        self.has_searched = True
        self.note_search()

    def note_search(self, modified: int = 0) -> None:
        """Move `searched_until` to now, or to the time at which a file was modified, if this process has searched."""
        if self.has_searched:
            self.searched_until = max(self.searched_until, event_time(self, None), modified)


def event_time(ledger: SourceLedger, at: int | None) -> int:
    """The time of a line in nanoseconds, limited to the range from 1970 to now; now if the line has no time."""
    now = round(ledger.clock() * SECOND)
    return now if at is None else max(0, min(at, now))
