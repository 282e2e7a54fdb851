"""The ledger: series and positions, changed together or not at all.

An entry is posted once, with its voucher number: the records of a batch and the position behind its last byte
go in under one lock, and a window that does not begin where the last one ended is refused. So any snapshot,
shown or stored, says exactly what the bytes before its positions say.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar, cast

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.budgets import Budget, Budgets, Spent
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.fold import SourceLedger, event_time, passed, post, settle
from exporter.ledger.joins import Joins
from exporter.ledger.prices import Price, Prices
from exporter.ledger.series import Labels, Limits, Series
from exporter.ledger.state import MetricSchema, State, fit
from exporter.tail.position import Position, RotationEvents, Window
from parsers.batch import Active, Batch
from parsers.values.numbers import SECOND

_WORKER_SILENCE = 30 * SECOND

Histogram = Mapping[Labels, list[int]]

K = TypeVar("K")
V = TypeVar("V")


class Snapshot(Struct, frozen=True):
    """All durable numbers at one instant, free to be read without the lock.

    Histograms are counts per bucket, the count above all bounds and the sum in nanoseconds; `created` and
    `last_at` (newest event time a source) are seconds since the epoch.
    """

    counters: Mapping[c.Metric, Mapping[Labels, int | Decimal]]
    histograms: Mapping[c.Metric, Histogram]
    bounds: Mapping[c.Metric, tuple[float, ...]]
    created: Mapping[c.Metric, Mapping[Labels, float]]
    last_at: Mapping[str, float]
    active: Mapping[str, int]
    spent: Mapping[str, Spent]


class Ledger:
    """Thread-safe. `clock` gives the wall clock in seconds since the epoch."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        buckets: Mapping[str, tuple[float, ...]] | None = None,
        prices: Iterable[Price] = (),
        budgets: Iterable[Budget] = (),
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._limits = limits
        self._series = Series(limits, clock, buckets)
        self._prices = Prices(tuple(prices))
        self._budgets = Budgets(budgets)
        self._books: dict[str, SourceLedger] = {}
        self._positions: dict[str, ChangeTracker[str, Position]] = {}
        self._sought: dict[str, ChangeTracker[str, bool]] = {}
        self._shapes: ChangeTracker[str, MetricSchema] = ChangeTracker()
        self._shapes.enter(
            {m.name: MetricSchema(m.labels, self._series.bounds.get(m, ())) for m in self._series.created}
        )

    def configure(self, limits: Limits, prices: Iterable[Price], budgets: Iterable[Budget]) -> None:
        """What a reload may change, from the next line on; what was counted stays."""
        with self._lock:
            self._limits, self._prices = limits, Prices(tuple(prices))
            self._series.limits = limits
            self._budgets.configure(budgets)
            for books in self._books.values():
                books.prices = self._prices
                books.joins.capacity = limits.open_joins

    def open(self, source: str) -> None:
        """Makes a source known, with the series that exist from its first moment."""
        with self._lock:
            self._books_of(source)

    def positions(self, source: str) -> dict[str, Position]:
        """Where reading goes on, by file generation."""
        with self._lock:
            return dict(self._positions.get(source, {}))

    def searched_paths(self, source: str) -> list[str]:
        """The paths under which all that was there has a position by now: what appears there is younger."""
        with self._lock:
            return list(self._sought.get(source, {}))

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None:
        """From now on these are the searched ones."""
        with self._lock:
            sought = self._sought.setdefault(source, ChangeTracker())
            wanted = dict.fromkeys(paths, True)
            for path in sought.keys() - wanted.keys():
                del sought[path]
            sought.enter({path: True for path in wanted if path not in sought})

    def post(self, window: Window, batch: Batch) -> Position:
        """Enters a batch; gives the position behind it. Raises ValueError for a window that does not begin where the
        last one ended.
        """
        with self._lock:
            books = self._books_of(window.source)
            positions = self._positions.setdefault(window.source, ChangeTracker())
            posted = positions.get(window.file)
            if posted is not None and posted.offset != window.position.offset:
                raise ValueError(f"window begins at {window.position.offset}, posted up to {posted.offset}")
            books.file = window.file
            self._enter(books, batch)
            self._count_events(window.source, window.events)
            position = positions[window.file] = window.after(batch.consumed, batch.skip)
            for file in window.events.forget:
                positions.pop(file, None)
                books.joins.forget(file)
            return position

    def enter(self, source: str, batch: Batch) -> None:
        """Enters a batch that has no position to go on from, as a replay's."""
        with self._lock:
            self._enter(self._books_of(source), batch)

    def count(self, metric: c.Metric, labels: Labels, amount: int = 1) -> None:
        """Adds to a counter that no line moves, such as a source's errors."""
        with self._lock:
            self._series.add(metric, labels, amount)

    def snapshot(self, now: float | None) -> Snapshot:
        """`now`, in seconds since the epoch, decides which proxy workers have fallen silent and which runs are final.

        None: nothing more will be read. Then every ended run is final, and event time decides on the workers.
        """
        with self._lock:
            self._settle(now)
            image = self._image(dict)
        return snapshot_of(image, now)

    def changes(self) -> State:
        """What has changed since the last call, at the first everything; holds the lock only for a moment.

        Runs whose outcome is final by the wall clock are counted first: so they appear although no line follows.
        """
        with self._lock:
            self._settle(self._clock())
            return self._image(ChangeTracker.changes)

    def take_over(self, image: State, sources: Iterable[str]) -> list[str]:
        """Goes on from an image, before anything is entered; a sentence for each thing that cannot be kept."""
        with self._lock:
            kept, told = fit(image, self._shapes, frozenset(sources), self._limits)
            for metric, created in self._series.created.items():
                created.enter(kept.created.get(metric.name, {}))
            for metric, counters in self._series.counters.items():
                counters.enter(kept.counters.get(metric.name, {}))
            for metric, histograms in self._series.histograms.items():
                stored = kept.histograms.get(metric.name, {})
                histograms.enter({labels: [*map(int, values)] for labels, values in stored.items()})
            for name, last_at in kept.last_at.items():
                self._books_of(name).last_at = last_at
            for name, positions in kept.positions.items():
                self._positions.setdefault(name, ChangeTracker()).enter(_present(positions))
            for name, sought in kept.sought.items():
                self._sought.setdefault(name, ChangeTracker()).enter(_present(sought))
            for name, active in kept.active.items():
                self._books_of(name).active.enter(_present(active))
            self._take_over_joins(kept)
            return told + self._budgets.take_over({key: _present(spent) for key, spent in image.spent.items()})

    def _take_over_joins(self, kept: State) -> None:
        for source, _, _, status in self._series.counters[c.RUNS]:
            if status == "succeeded":  # a task does not know that
                self._books_of(source).has_telemetry = True
        for name, waiting in kept.waiting.items():
            by_age = sorted(_present(waiting).items(), key=lambda item: item[1].at or 0)
            self._books_of(name).joins.waiting.enter(dict(by_age))
        for name, held in kept.held.items():
            self._books_of(name).joins.held.enter(_present(held))
        for name, errors in kept.errors.items():
            by_time = sorted(_present(errors).items(), key=lambda item: item[1].at)
            self._books_of(name).joins.errors.enter(dict(by_time))
        for name, blocks in kept.streams.items():
            self._books_of(name).joins.streams.restore(_present(blocks))

    def _books_of(self, source: str) -> SourceLedger:
        books = self._books.get(source)
        if books is None:
            joins = Joins(self._limits.open_joins, round(self._clock() * SECOND))
            books = self._books[source] = SourceLedger(
                source, self._series, self._prices, self._budgets, self._clock, joins
            )
            for metric, label_sets in c.INITIAL:
                for labels in label_sets:
                    self._series.add(metric, (source, *labels), 0)
        return books

    def _enter(self, books: SourceLedger, batch: Batch) -> None:
        source, add = books.source, self._series.add
        add(c.READ_BYTES, (source,), batch.consumed)
        add(c.LINES, (source, "observed"), batch.observed)
        add(c.LINES, (source, "ignored"), batch.ignored)
        for reason, count in batch.unparsed.items():
            add(c.LINES, (source, "unparsed"), count)
            add(c.UNPARSED_LINES, (source, reason), count)
        if batch.last_at is not None and not books.last_at:
            books.last_at = event_time(books, batch.last_at)  # for usages of the first batch without a time
        post(books, batch.records)
        books.joins.streams.trim(books.joins.capacity)
        if batch.last_at is not None:
            passed(books, batch.last_at)
            books.usage_at = max(books.usage_at, event_time(books, batch.last_at))

    def _count_events(self, source: str, events: RotationEvents) -> None:
        self._series.add(c.ROTATIONS, (source,), events.rotations)
        self._series.add(c.TRUNCATIONS, (source,), events.truncations)
        self._series.add(c.LOST_BYTES, (source,), events.lost_bytes)

    def _settle(self, now: float | None) -> None:
        for books in self._books.values():
            settle(books, None if now is None else round(now * SECOND))

    def _image(self, taken: Callable[[ChangeTracker[Any, Any]], dict[Any, Any]]) -> State:
        def by_name(tables: Iterable[tuple[str, ChangeTracker[Any, Any]]]) -> dict[str, dict[Any, Any]]:
            return {name: entries for name, table in tables if (entries := taken(table))}

        series, books = self._series, self._books.items()
        return State(
            shapes=taken(self._shapes),
            counters=by_name((m.name, table) for m, table in series.counters.items()),
            histograms=by_name((m.name, table) for m, table in series.histograms.items()),
            created=by_name((m.name, table) for m, table in series.created.items()),
            positions=by_name(self._positions.items()),
            sought=by_name(self._sought.items()),
            waiting=by_name((source, each.joins.waiting) for source, each in books),
            held=by_name((source, each.joins.held) for source, each in books),
            errors=by_name((source, each.joins.errors) for source, each in books),
            streams=by_name((source, each.joins.streams.blocks) for source, each in books),
            active=by_name((source, each.active) for source, each in books),
            last_at={source: each.last_at for source, each in books if each.last_at},
            spent=by_name(self._budgets.spent.items()),
        )


def snapshot_of(image: State, now: float | None) -> Snapshot:
    """A view, not a copy, of an image of everything; `now` as in `Ledger.snapshot`."""
    metrics = [metric for metric in c.METRICS if metric.name in image.shapes]
    counters = [metric for metric in metrics if metric.kind == "counter"]
    histograms = [metric for metric in metrics if metric.kind == "histogram"]
    return Snapshot(
        counters={metric: image.counters.get(metric.name, {}) for metric in counters},
        histograms={metric: cast(Histogram, image.histograms.get(metric.name, {})) for metric in histograms},
        bounds={metric: image.shapes[metric.name].bounds for metric in histograms},
        created={metric: image.created.get(metric.name, {}) for metric in metrics},
        last_at={source: at / SECOND for source, at in image.last_at.items()},
        active={
            source: _active(
                _present(workers).values(),
                image.last_at.get(source, 0) if now is None else round(now * SECOND),
            )
            for source, workers in image.active.items()
            if workers
        },
        spent={budget: _present(spent) for budget, spent in image.spent.items()},
    )


def _active(workers: Iterable[Active], now: int) -> int:
    """Requests of the workers that have spoken within 30 s; a killed worker holds none."""
    oldest = now - _WORKER_SILENCE
    return sum(last.requests for last in workers if last.at is not None and last.at >= oldest)


def _present(entries: Mapping[K, V | None]) -> dict[K, V]:
    return {key: value for key, value in entries.items() if value is not None}
