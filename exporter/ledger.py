"""The ledger: series and positions, changed together or not at all.

An entry is posted once, with its voucher number: the records of a batch and the position behind its last byte
go in under one lock, and a window that does not begin where the last one ended is refused. So any snapshot,
shown or stored, says exactly what the bytes before its positions say.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from exporter import catalogue as c
from exporter.budgets import Budget, Budgets, Spent
from exporter.fold import FOLDS, Books, passed
from exporter.image import Image, image_of, take_over
from exporter.joins import Joins
from exporter.prices import Price, Prices
from exporter.series import Labels, Limits, Series
from exporter.window import Position, Window
from parsers.batch import Batch

_NANOSECONDS = 1_000_000_000
_WORKER_SILENCE = 30 * _NANOSECONDS


class Snapshot(Struct, frozen=True):
    """All durable numbers at one instant, free to be read without the lock.

    Histograms are counts per bucket, the count above all bounds and the sum in nanoseconds; `created` and
    `last_at` (newest event time a source) are seconds since the epoch.
    """

    counters: Mapping[c.Metric, Mapping[Labels, int | Decimal]]
    histograms: Mapping[c.Metric, Mapping[Labels, list[int]]]
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
        self._books: dict[str, Books] = {}
        self._positions: dict[str, dict[str, Position]] = {}

    def open(self, source: str) -> None:
        """Makes a source known, with the series that exist from its first moment."""
        with self._lock:
            self._books_of(source)

    def positions(self, source: str) -> dict[str, Position]:
        """Where reading goes on, by file generation."""
        with self._lock:
            return dict(self._positions.get(source, {}))

    def post(self, window: Window, batch: Batch) -> None:
        """Enters a batch. Raises ValueError for a window that does not begin where the last one ended."""
        with self._lock:
            books = self._books_of(window.source)
            positions = self._positions.setdefault(window.source, {})
            posted = positions.get(window.file)
            if posted is not None and posted.offset != window.position.offset:
                raise ValueError(f"window begins at {window.position.offset}, posted up to {posted.offset}")
            self._enter(books, batch)
            self._news(window)
            positions[window.file] = window.after(batch.consumed)
            for file in window.forget:
                positions.pop(file, None)

    def enter(self, source: str, batch: Batch) -> None:
        """Enters a batch that has no position to go on from, as a replay's."""
        with self._lock:
            self._enter(self._books_of(source), batch)

    def count(self, metric: c.Metric, labels: Labels, amount: int = 1) -> None:
        """Adds to a counter that no line moves, such as a source's errors."""
        with self._lock:
            self._series.add(metric, labels, amount)

    def snapshot(self, now: float | None) -> Snapshot:
        """`now`, in seconds since the epoch, decides which proxy workers have fallen silent; None: event time."""
        with self._lock:
            return self._snapshot(now)

    def closing(self, now: float) -> tuple[Snapshot, bytes]:
        """A snapshot, and the image of the same instant for the checkpoint."""
        with self._lock:
            return self._snapshot(now), image_of(self._series, self._books, self._positions, self._budgets)

    def take_over(self, image: Image, sources: Iterable[str]) -> list[str]:
        """Goes on from an image, before anything is entered; a sentence for each thing that cannot be kept."""
        with self._lock:
            kept = frozenset(sources)
            told = take_over(image, self._series, kept) + self._budgets.take_over(image.spent)
            for name in kept & image.sources.keys():
                old, books = image.sources[name], self._books_of(name)
                self._positions[name] = dict(old.positions)
                books.joins.waiting.update((opened.trace_id, opened) for opened in old.waiting)
                books.active.update((active.worker, active) for active in old.active)
                books.last_at = old.last_at
            return told

    def _books_of(self, source: str) -> Books:
        books = self._books.get(source)
        if books is None:
            joins = Joins(self._limits.open_joins)
            books = self._books[source] = Books(source, self._series, self._prices, self._budgets, self._clock, joins)
            for metric, label_sets in c.INITIAL:
                for labels in label_sets:
                    self._series.add(metric, (source, *labels), 0)
        return books

    def _enter(self, books: Books, batch: Batch) -> None:
        source, add = books.source, self._series.add
        add(c.READ_BYTES, (source,), batch.consumed)
        add(c.LINES, (source, "observed"), batch.observed)
        add(c.LINES, (source, "ignored"), batch.ignored)
        for reason, count in batch.unparsed.items():
            add(c.LINES, (source, "unparsed"), count)
            add(c.UNPARSED_LINES, (source, reason), count)
        for record in batch.records:
            FOLDS[type(record)](books, record)
        if batch.last_at is not None:
            passed(books, batch.last_at)

    def _news(self, window: Window) -> None:
        self._series.add(c.ROTATIONS, (window.source,), window.rotations)
        self._series.add(c.TRUNCATIONS, (window.source,), window.truncations)
        self._series.add(c.LOST_BYTES, (window.source,), window.lost_bytes)

    def _snapshot(self, now: float | None) -> Snapshot:
        series, books = self._series, self._books.items()
        return Snapshot(
            counters={metric: dict(values) for metric, values in series.counters.items()},
            histograms={metric: dict(values) for metric, values in series.histograms.items()},
            bounds=series.bounds,
            created={metric: dict(values) for metric, values in series.created.items()},
            last_at={source: each.last_at / _NANOSECONDS for source, each in books if each.last_at},
            active={
                source: self._active(each, each.last_at if now is None else round(now * _NANOSECONDS))
                for source, each in books
                if each.active
            },
            spent={key: dict(spent) for key, spent in self._budgets.spent.items()},
        )

    @staticmethod
    def _active(books: Books, now: int) -> int:
        """Requests of the workers that have spoken within 30 s; a killed worker holds none."""
        oldest = now - _WORKER_SILENCE
        return sum(last.requests for last in books.active.values() if last.at is not None and last.at >= oldest)
