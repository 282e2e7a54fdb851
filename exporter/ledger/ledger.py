"""The ledger: all series and file positions, always changed together.

The records of a batch and the position behind its last byte are posted under one lock. A window that does not begin
where the last one ended is refused. So every snapshot, shown or stored, counts exactly the bytes before its positions.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec import structs

from exporter import catalogue as c
from exporter.ledger.book import BEHIND, LINES, UNPARSED, BookKey, Entries
from exporter.ledger.budgets import Budget, Budgets
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.fold_joins import advance, finalize_runs, trim
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.joins import Joins
from exporter.ledger.post import post
from exporter.ledger.postings import Postings
from exporter.ledger.prices import Price, Prices
from exporter.ledger.reached_times import ReachedTimes
from exporter.ledger.series import Labels, Limits, Series
from exporter.ledger.snapshot import Snapshot, present, snapshot_of
from exporter.ledger.source_books import SourceBooks
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.state import SOURCE_TABLES, MetricSchema, State, keep_compatible
from exporter.ledger.waiting import enter_waiting
from exporter.ledger.window_slices import WindowSlices
from exporter.tail.position import Position, Window
from parsers.batch import Batch
from parsers.slices import Parse, Slice
from parsers.values.numbers import SECOND


class Ledger:
    """Thread-safe. `clock` gives the wall clock in seconds since the epoch."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        buckets: Mapping[str, tuple[float, ...]] | None = None,
        prices: Iterable[Price] = (),
        budgets: Iterable[Budget] = (),
        is_stored: bool = True,
    ) -> None:
        """`buckets` are bounds in seconds by metric name. Without `is_stored`, `changes` is never called."""
        self._lock = threading.Lock()
        self._is_stored, self._clock, self._limits = is_stored, clock, limits
        self._series = Series(limits, clock, buckets)
        self._prices = Prices(tuple(prices))
        self._budgets = Budgets(budgets)
        self.keep_history(History(HistoryConfig(days=0), limits, clock))
        self._ledgers: dict[str, SourceLedger] = {}
        self._schemas: ChangeTracker[str, MetricSchema] = ChangeTracker()
        self._schemas.enter(
            {m.name: MetricSchema(m.labels, self._series.bounds.get(m, ())) for m in self._series.created}
        )

    def keep_history(self, history: History) -> None:
        """Keep a history from the first batch on. Without this call there is none."""
        self._history, self._windows = history, WindowSlices(history, self._clock)

    def configure(
        self, limits: Limits, prices: Iterable[Price], budgets: Iterable[Budget], history: HistoryConfig
    ) -> None:
        """Change what a reload may change, from the next batch on. All counts stay."""
        with self._lock:
            self._enter_waiting()
            self._history.configure(history, limits)
            self._limits, self._prices = limits, Prices(tuple(prices))
            self._series.limits = limits
            self._budgets.configure(budgets)
            for ledger in self._ledgers.values():
                ledger.prices = self._prices
                ledger.joins.capacity = limits.open_joins

    def open(self, source: str, parse: Parse | None = None) -> None:
        """Add a source, with the series that must exist before its first line.

        `parse` parses a part of a window again if the window has lines of several days.
        """
        with self._lock:
            self._source_ledger(source)
            self._windows.open(source, parse)

    def positions(self, source: str) -> dict[str, Position]:
        """The positions from which reading continues, by file generation."""
        with self._lock:
            return dict(self._source_ledger(source).positions)

    def searched_paths(self, source: str) -> list[str]:
        """The paths that were searched completely: each file that existed there has a position.

        A file that appears there later is new, so it is read from its beginning.
        """
        with self._lock:
            return list(self._source_ledger(source).searched_paths)

    def searched_until(self, source: str) -> int:
        """A time in nanoseconds: each log that existed until then, where the searched paths match, was seen."""
        with self._lock:
            return self._source_ledger(source).searched_until

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None:
        """Replace the searched paths of a source."""
        with self._lock:
            self._source_ledger(source).set_searched_paths(paths)

    def post(self, window: Window, batch: Batch) -> Position:
        """Enter a batch and return the position behind it.

        Raises ValueError for a window that does not begin where the last one ended.
        """
        slices = self._windows.cut(window, batch)
        with self._lock:
            ledger = self._source_ledger(window.source)
            posted = ledger.positions.get(window.file)
            if posted is not None and posted.offset != window.position.offset:
                raise ValueError(f"window begins at {window.position.offset}, posted up to {posted.offset}")
            ledger.file = window.file
            ledger.reached.begin(event_time(ledger, None))
            for each in slices:
                self._enter(ledger, each)
            self._series.add(c.ROTATIONS, (window.source,), window.events.rotations)
            self._series.add(c.TRUNCATIONS, (window.source,), window.events.truncations)
            self._series.add(c.LOST_BYTES, (window.source,), window.events.lost_bytes)
            position = ledger.positions[window.file] = window.after(batch.consumed, batch.skip)
            ledger.note_search(position.modified)
            for file in window.events.forget:
                ledger.positions.pop(file, None)
                ledger.reached.forget(file)
                self._windows.forget(window.source, file)
            return position

    def enter(self, source: str, batch: Batch, at: int | None = None, is_doubtful: bool = False) -> None:
        """Enter a batch without a position. `at` and `is_doubtful` are those of its slice."""
        self.enter_slice(source, Slice(batch, at, is_doubtful))

    def enter_slice(self, source: str, each: Slice, postings: Postings | None = None) -> None:
        """Enter a slice without a position, as a replay does. `postings` are the sums of other records of it."""
        with self._lock:
            self._enter(self._source_ledger(source), each, postings)

    def count(self, metric: c.Metric, labels: Labels, amount: int = 1) -> None:
        """Add to a counter that does not depend on log lines, such as a source's errors."""
        with self._lock:
            self._series.add(metric, labels, amount)

    def snapshot(self, now: float | None) -> Snapshot:
        """A copy of all numbers. `now` is the wall clock in seconds since the epoch.

        `now` decides which runs are final and which proxy workers still report. If it is None, nothing more will be
        read: then every ended run is final, and the newest event time replaces `now` for the workers.
        """
        with self._lock:
            self._finalize_runs(now)
            state = self._state(dict)
        return snapshot_of(state, now)

    def changes(self) -> State:
        """The changes since the last call; the first call returns the whole state. It holds the lock only briefly.

        Runs whose outcome is final by the wall clock are counted first, so that they appear even if no line follows.
        """
        with self._lock:
            self._finalize_runs(self._clock())
            self._history.enter_waiting()
            # A source without positions is not tailed: the lines of a backfill may be of any day.
            self._history.close_days({name: each.reached for name, each in self._ledgers.items() if each.positions})
            state = self._state(ChangeTracker.changes)
            state.history, state.closed = self._history.changes(), {**self._history.closed}
            return state

    @property
    def bounds(self) -> dict[str, tuple[float, ...]]:
        """The upper bounds of the classic buckets in seconds, by the name of the histogram."""
        return {metric.name: bounds for metric, bounds in self._series.bounds.items()}

    @property
    def history_days(self) -> int:
        """The number of days that the archive keeps."""
        return self._history.config.days

    def closed_days(self) -> dict[BookKey, Entries]:
        """The books that are complete and wait for the archive. They do not change any more."""
        with self._lock:
            self._history.enter_waiting()
            ledgers, rereads = self._ledgers.items(), self._history.rereads
            continued = (name for name, each in ledgers if not rereads or each.positions or each.searched_paths)
            return {**self._history.closed_books(frozenset(continued))}

    def forget_days(self, keys: Iterable[BookKey]) -> None:
        """Remove books that are in the archive."""
        with self._lock:
            self._history.forget(keys)

    def books(self) -> dict[BookKey, Entries]:
        """All books that are not in the archive."""
        with self._lock:
            self._history.enter_waiting()
            return {key: {**book} for key, book in self._history.books.items()}

    def restore(self, state: State, sources: Iterable[str]) -> list[str]:
        """Restore a stored state before anything is entered. Returns a warning for each part that cannot be kept."""
        with self._lock:
            names = list(sources)
            kept, warnings = keep_compatible(state, self._schemas, frozenset(names), self._limits)
            for metric, created in self._series.created.items():
                created.enter(kept.created.get(metric.name, {}))
            for metric, counters in self._series.counters.items():
                counters.enter(kept.counters.get(metric.name, {}))
            for metric, histograms in self._series.histograms.items():
                stored = kept.histograms.get(metric.name, {})
                histograms.enter(
                    {labels: structs.replace(each, total=int(each.total)) for labels, each in stored.items()}
                )
            for name in names:
                ledger = self._source_ledger(name)
                ledger.last_at = kept.last_at.get(name, 0)
                ledger.searched_until = kept.searched_until.get(name, 0)
                ledger.restore({field: present(getattr(kept, field).get(name, {})) for field in SOURCE_TABLES})
            for source, _, _, status in self._series.counters[c.RUNS]:
                if status == "succeeded":  # only telemetry reports this status
                    self._source_ledger(source).has_telemetry = True
            self._history.restore(
                {key: present(book) for key, book in kept.history.items() if book is not None}, kept.closed
            )
            return warnings + self._budgets.restore({key: present(spent) for key, spent in state.spent.items()})

    def _source_ledger(self, source: str) -> SourceLedger:
        ledger = self._ledgers.get(source)
        if ledger is None:
            ledger = self._ledgers[source] = SourceLedger(
                source,
                self._series,
                self._prices,
                self._budgets,
                self._clock,
                Joins(self._limits.open_joins),
                SourceBooks(self._history, source),
                ReachedTimes(round(self._clock() * SECOND)),
            )
            ledger.books.enter_records = partial(enter_waiting, ledger)
            for metric, label_sets in c.INITIAL:
                for labels in label_sets:
                    self._series.add(metric, (source, *labels), 0)
        return ledger

    def _enter(self, ledger: SourceLedger, each: Slice, postings: Postings | None = None) -> None:
        source, add, batch = ledger.source, self._series.add, each.batch
        add(c.READ_BYTES, (source,), batch.consumed)
        add(c.LINES, (source, "observed"), batch.observed)
        add(c.LINES, (source, "ignored"), batch.ignored)
        for reason, count in batch.unparsed.items():
            add(c.LINES, (source, "unparsed"), count)
            add(c.UNPARSED_LINES, (source, reason), count)
        if batch.last_at is not None and not ledger.last_at:
            ledger.last_at = event_time(ledger, batch.last_at)  # for usages without a time in the first batch
        ledger.books.begin(each.at or ledger.last_at or None, each.is_doubtful)
        if postings is not None:
            postings.enter(ledger)
        if batch.lines:
            ledger.books.add(LINES, (), batch.lines)
        if batch.unparsed:
            ledger.books.add(UNPARSED, (), sum(batch.unparsed.values()))
        if each.is_behind:
            ledger.books.add(BEHIND, (), batch.lines)
        post(ledger, batch.records)
        trim(ledger)
        if not self._is_stored:
            ledger.forget_changes()
        if batch.last_at is not None:
            self._budgets.note_time(event_time(ledger, batch.last_at))
            advance(ledger, batch.last_at, each.at)
            ledger.usage_at = max(ledger.usage_at, event_time(ledger, batch.last_at))

    def _finalize_runs(self, now: float | None) -> None:
        for ledger in self._ledgers.values():
            finalize_runs(ledger, None if now is None else round(now * SECOND))

    def _enter_waiting(self) -> None:
        for ledger in self._ledgers.values():
            enter_waiting(ledger)

    def _state(self, taken: Callable[[ChangeTracker[Any, Any]], dict[Any, Any]]) -> State:
        def by_name(tables: Iterable[tuple[str, ChangeTracker[Any, Any]]]) -> dict[str, dict[Any, Any]]:
            return {name: entries for name, table in tables if (entries := taken(table))}

        self._enter_waiting()
        series, ledgers = self._series, self._ledgers.items()
        tables = [(source, each.tables) for source, each in ledgers]
        by_field: dict[str, Any] = {f: by_name((source, each[f]) for source, each in tables) for f in SOURCE_TABLES}
        return State(
            schemas=taken(self._schemas),
            counters=by_name((m.name, table) for m, table in series.counters.items()),
            histograms=by_name((m.name, table) for m, table in series.histograms.items()),
            created=by_name((m.name, table) for m, table in series.created.items()),
            last_at={source: each.last_at for source, each in ledgers if each.last_at},
            searched_until={source: each.searched_until for source, each in ledgers if each.searched_until},
            spent=by_name(self._budgets.spent.items()),
            **by_field,
        )
