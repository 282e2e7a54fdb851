"""The books as bytes: what the checkpoint stores, and how an older or other one is taken over.

MessagePack of plain structs, typed and versioned. A metric travels with its label names and its bounds, so that
books written under another catalogue or configuration are recognised and left out, never mixed.
"""

from collections.abc import Sized
from decimal import Decimal

import msgspec
from msgspec import Struct

from exporter.budgets import Budgets, Spent
from exporter.catalogue import Metric
from exporter.fold import Books
from exporter.series import Labels, Series
from exporter.window import Position
from parsers.batch import Active, Opened

VERSION = 1


class Counter(Struct, frozen=True):
    """`values` holds label values, number and birth (seconds since the epoch); money is a decimal string."""

    labels: tuple[str, ...]
    values: list[tuple[Labels, int | str, float]]


class Histogram(Struct, frozen=True):
    """`values` holds label values, buckets with the sum in nanoseconds behind them, and birth."""

    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    values: list[tuple[Labels, list[int], float]]


class SourceImage(Struct, frozen=True):
    """What one source's books hold beside the series."""

    positions: dict[str, Position]
    waiting: list[Opened]
    active: list[Active]
    last_at: int


class Image(Struct, frozen=True):
    version: int
    counters: dict[str, Counter]
    histograms: dict[str, Histogram]
    sources: dict[str, SourceImage]
    spent: dict[str, Spent] = {}


def image_of(
    series: Series, books: dict[str, Books], positions: dict[str, dict[str, Position]], budgets: Budgets
) -> bytes:
    """All books at one instant."""
    counters = {
        metric.name: Counter(
            metric.labels,
            [
                (labels, str(value) if isinstance(value, Decimal) else value, series.created[metric][labels])
                for labels, value in values.items()
            ],
        )
        for metric, values in series.counters.items()
    }
    histograms = {
        metric.name: Histogram(
            metric.labels,
            series.bounds[metric],
            [(labels, value, series.created[metric][labels]) for labels, value in values.items()],
        )
        for metric, values in series.histograms.items()
    }
    sources = {
        name: SourceImage(
            positions.get(name, {}),
            list(each.joins.waiting.values()),
            list(each.active.values()),
            each.last_at,
        )
        for name, each in books.items()
    }
    return msgspec.msgpack.encode(Image(VERSION, counters, histograms, sources, budgets.spent))


def take_over(image: Image, series: Series, sources: frozenset[str]) -> list[str]:
    """Enters the series of an image into empty books; one sentence for each thing that cannot be kept."""
    told = []
    metrics = {metric.name: metric for metric in series.created}
    every: dict[str, Counter | Histogram] = {**image.counters, **image.histograms}
    for name, stored in every.items():
        metric = metrics.get(name)
        if metric is None or metric.labels != stored.labels:
            told += _left_out(name, "its labels have changed", stored.values)
        elif isinstance(stored, Histogram) and series.bounds[metric] != stored.bounds:
            told += _left_out(name, "its buckets have changed", stored.values)
        else:
            _enter(series, metric, stored, sources)
    if gone := sorted(image.sources.keys() - sources):
        told.append(f"sources that are not configured any more are dropped with their series: {', '.join(gone)}")
    return told


def _enter(series: Series, metric: Metric, stored: Counter | Histogram, sources: frozenset[str]) -> None:
    for labels, value, created in stored.values:
        if not _kept(metric.labels, labels, sources):
            continue
        series.created[metric][labels] = created
        if isinstance(value, list):
            series.histograms[metric][labels] = value
        else:
            series.counters[metric][labels] = Decimal(value) if isinstance(value, str) else value


def _kept(names: tuple[str, ...], labels: Labels, sources: frozenset[str]) -> bool:
    return names[:1] != ("source",) or labels[0] in sources


def _left_out(name: str, why: str, values: Sized) -> list[str]:
    return [f"{name} begins anew: {why} ({len(values)} series dropped)"] if values else []
