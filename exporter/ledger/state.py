"""The books as tables: what a commit stores, whole or what has changed, and how other books are taken over.

MessagePack of plain structs, typed and versioned: bytes that are no books are refused while they are decoded.
A metric travels with its label names and its bounds, so that books written under another catalogue or
configuration are recognised and left out, never mixed.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct, structs

from exporter.ledger.joins import Ended
from exporter.ledger.series import Labels, Limits
from exporter.ledger.streams import Block
from exporter.tail.position import Position
from parsers.batch import Active, Opened, TraceError

VERSION = 3

_TABLES = (
    "counters", "histograms", "created", "positions", "sought", "waiting", "held", "errors", "streams", "active",
    "spent",
)  # fmt: skip


class MetricSchema(Struct, frozen=True):
    """Label names of a metric and, of a histogram, its bounds in seconds."""

    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


class State(Struct, omit_defaults=True):
    """Everything, or what has changed since another image: then None stands for what is gone.

    By metric: `shapes`, `counters`, `histograms` (the count of each bucket, of those above all bounds, and the
    sum in nanoseconds) and `created` (seconds since the epoch). By source: `positions` by generation, `sought`
    paths (percent-encoded) under which it was looked for already, `active` by worker, and what the joins hold:
    `waiting`, `held` and `errors` by trace id, `streams` by block (see `exporter.ledger.joins`). Of each source
    `last_at` (newest event time in nanoseconds). By budget: `spent`.
    """

    shapes: dict[str, MetricSchema] = {}
    counters: dict[str, dict[Labels, int | Decimal]] = {}
    histograms: dict[str, dict[Labels, list[int | Decimal]]] = {}
    created: dict[str, dict[Labels, float]] = {}
    positions: dict[str, dict[str, Position | None]] = {}
    sought: dict[str, dict[str, bool | None]] = {}
    waiting: dict[str, dict[str, Opened | None]] = {}
    held: dict[str, dict[str, Ended | None]] = {}
    errors: dict[str, dict[str, TraceError | None]] = {}
    streams: dict[str, dict[int, Block | None]] = {}
    active: dict[str, dict[str, Active | None]] = {}
    spent: dict[str, dict[tuple[int, str], int | Decimal | None]] = {}
    last_at: dict[str, int] = {}

    @property
    def widened(self) -> "State":
        """The same with each integer beyond 64 bits, which MessagePack has none of, as a Decimal: the sum of centuries
        of requests.
        """
        changed = {
            "counters": {name: _widened(values) for name, values in self.counters.items()},
            "spent": {name: _widened(values) for name, values in self.spent.items()},
            "histograms": {
                name: {labels: [_wide(number) for number in values] for labels, values in series.items()}
                for name, series in self.histograms.items()
            },
        }
        return structs.replace(self, **changed)

    @property
    def empty(self) -> bool:
        return not any(getattr(self, field) for field in _TABLES)

    def update(self, change: "State") -> None:
        self.shapes.update(change.shapes)
        self.last_at.update(change.last_at)
        for field in _TABLES:
            tables: dict[str, dict[Any, Any]] = getattr(self, field)
            for name, entries in getattr(change, field).items():
                table = tables.setdefault(name, {})
                table.update(entries)
                for key in [key for key, value in entries.items() if value is None]:
                    del table[key]


def _widened(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: _wide(value) for key, value in values.items()}


def _wide(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int) and value >= 1 << 64 else value


def fit(
    image: State, shapes: Mapping[str, MetricSchema], sources: frozenset[str], limits: Limits
) -> tuple[State, list[str]]:
    """What the present catalogue and configuration can go on with; one sentence for each thing that is left out."""
    told = []
    kept = State(
        positions=_of(sources, image.positions),
        sought=_of(sources, image.sought),
        waiting=_of(sources, image.waiting),
        held=_of(sources, image.held),
        errors=_of(sources, image.errors),
        streams=_of(sources, image.streams),
        active=_of(sources, image.active),
        last_at=_of(sources, image.last_at),
    )
    for name, shape in image.shapes.items():
        why = _unfit(shape, shapes.get(name))
        values: dict[Labels, Any] = image.counters.get(name, {}) or image.histograms.get(name, {})
        if why and values:
            told.append(f"{name} is dropped with {len(values)} series: {why}")
        if why or not values:
            continue
        of_source = shape.labels[:1] == ("source",)
        mine = {labels: value for labels, value in values.items() if not of_source or labels[0] in sources}
        (kept.histograms if name in image.histograms else kept.counters)[name] = mine
        kept.created[name] = {labels: image.created[name][labels] for labels in mine}
        cap = limits.series_per_histogram if shape.bounds else limits.series_per_counter
        if len(mine) > cap:
            told.append(
                f"{name} keeps its {len(mine)} series, more than the limit of {cap}: new ones fold into `other`"
            )
    known = image.positions.keys() | image.last_at.keys()
    told += [f"source {name} is not configured any more: dropped with its series" for name in sorted(known - sources)]
    return kept, told


def _of(sources: frozenset[str], by_source: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in by_source.items() if name in sources}


def _unfit(stored: MetricSchema, present: MetricSchema | None) -> str:
    if present is None:
        return "there is no such metric any more"
    if present.labels != stored.labels:
        return f"its labels were {', '.join(stored.labels)} and are {', '.join(present.labels)}"
    return "" if present.bounds == stored.bounds else "its buckets have changed"
