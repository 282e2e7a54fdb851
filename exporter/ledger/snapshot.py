"""All durable numbers at one instant, as a scrape, the status page and the tables of `replay` read them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

from msgspec import Struct, structs

from exporter import catalogue as c
from exporter.ledger.budgets import Spent
from exporter.ledger.histogram import Histogram
from exporter.ledger.series import Labels
from exporter.ledger.state import State
from parsers.batch import Active
from parsers.values.numbers import SECOND

#: A proxy worker that has not reported for so many nanoseconds holds no requests.
_WORKER_TIMEOUT = 30 * SECOND

K = TypeVar("K")
V = TypeVar("V")


class Snapshot(Struct, frozen=True):
    """All durable numbers at one instant. It can be read without the lock.

    `bounds` are those of the classic buckets, in seconds. `created` and `last_at` (the newest event time per source)
    are in seconds since the epoch.
    """

    counters: Mapping[c.Metric, Mapping[Labels, int | Decimal]]
    histograms: Mapping[c.Metric, Mapping[Labels, Histogram]]
    bounds: Mapping[c.Metric, tuple[float, ...]]
    created: Mapping[c.Metric, Mapping[Labels, float]]
    last_at: Mapping[str, float]
    active: Mapping[str, int]
    spent: Mapping[str, Spent]

    @property
    def in_order(self) -> "Snapshot":
        """The same numbers, sorted by their labels: the order no longer depends on how a log was cut."""
        counters = {metric: _sorted(found) for metric, found in self.counters.items()}
        histograms = {metric: _sorted(found) for metric, found in self.histograms.items()}
        return structs.replace(self, counters=counters, histograms=histograms)


def _sorted(series: Mapping[Labels, V]) -> dict[Labels, V]:
    return {labels: series[labels] for labels in sorted(series)}


def snapshot_of(state: State, now: float | None) -> Snapshot:
    """A view of a whole state, not a copy. `now` is the same as in `Ledger.snapshot`."""
    metrics = [metric for metric in c.METRICS if metric.name in state.schemas]
    counters = [metric for metric in metrics if metric.kind == "counter"]
    histograms = [metric for metric in metrics if metric.kind == "histogram"]
    return Snapshot(
        counters={metric: state.counters.get(metric.name, {}) for metric in counters},
        histograms={metric: state.histograms.get(metric.name, {}) for metric in histograms},
        bounds={metric: state.schemas[metric.name].bounds for metric in histograms},
        created={metric: state.created.get(metric.name, {}) for metric in metrics},
        last_at={source: at / SECOND for source, at in state.last_at.items()},
        active={
            source: _active(
                present(workers).values(), state.last_at.get(source, 0) if now is None else round(now * SECOND)
            )
            for source, workers in state.active.items()
            if workers
        },
        spent={budget: present(spent) for budget, spent in state.spent.items()},
    )


def _active(workers: Iterable[Active], now: int) -> int:
    """Active requests of the workers that have reported within 30 s. A killed worker has none.

    A report from the future was read before the clock was set back, so its age is not known.
    """
    return sum(last.requests for last in workers if last.at is not None and abs(now - last.at) <= _WORKER_TIMEOUT)


def present(entries: Mapping[K, V | None]) -> dict[K, V]:
    return {key: value for key, value in entries.items() if value is not None}
