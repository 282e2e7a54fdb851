"""The state of the ledger: a commit stores the whole state or only its changes, and a start restores it.

It is MessagePack of typed, versioned structs, so anything else fails to decode. Each metric is stored with its label
names and bucket bounds. A metric whose definition differs from the present catalogue or configuration is left out, so
that different series are never mixed.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct, structs

from exporter.ledger.book import BookKey, Entry
from exporter.ledger.histogram import Histogram
from exporter.ledger.joins import Ended
from exporter.ledger.series import Labels, Limits
from exporter.ledger.span_apps import Waiting
from exporter.ledger.streams import Block
from exporter.tail.position import Position
from parsers.batch import Active, Opened, SpanApp, TraceError

VERSION = 5

#: The fields that are keyed by source and hold the tables of a `SourceLedger`.
SOURCE_TABLES = (
    "positions", "searched_paths", "waiting", "held", "errors", "streams", "span_apps", "of_spans", "active",
)  # fmt: skip

_TABLES = ("counters", "histograms", "created", *SOURCE_TABLES, "spent", "history")


class MetricSchema(Struct, frozen=True):
    """The label names of a metric and, for a histogram, its bounds in seconds."""

    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


class State(Struct, omit_defaults=True):
    """The whole state, or the changes since an earlier state. Among changes, None marks a deleted entry.

    Keyed by metric: `schemas`, `counters`, `histograms` and `created` (seconds since the epoch).

    These are keyed by source: `positions` by file generation; `searched_paths`, percent-encoded, and `searched_until`
    (see `exporter.ledger.source_ledger`); `active` by worker; `last_at`, the newest event time in nanoseconds. So are
    the tables of the joins (see `exporter.ledger.joins`): `waiting`, `held` and `errors` by trace id; `streams` by
    block number; by span, `span_apps` (what is known of spans) and `of_spans` (the records that wait for the app of a
    span).

    Keyed by budget: `spent`.

    Keyed by time zone, day and source: `history`, the books of the days; None for a book that went to the archive.
    `closed` is the newest day of each source that is closed.
    """

    schemas: dict[str, MetricSchema] = {}
    counters: dict[str, dict[Labels, int | Decimal]] = {}
    histograms: dict[str, dict[Labels, Histogram]] = {}
    created: dict[str, dict[Labels, float]] = {}
    positions: dict[str, dict[str, Position | None]] = {}
    searched_paths: dict[str, dict[str, bool | None]] = {}
    waiting: dict[str, dict[str, Opened | None]] = {}
    held: dict[str, dict[str, Ended | None]] = {}
    errors: dict[str, dict[str, TraceError | None]] = {}
    streams: dict[str, dict[int, Block | None]] = {}
    span_apps: dict[str, dict[str, SpanApp | None]] = {}
    of_spans: dict[str, dict[str, Waiting | None]] = {}
    active: dict[str, dict[str, Active | None]] = {}
    spent: dict[str, dict[tuple[int, str], int | Decimal | None]] = {}
    last_at: dict[str, int] = {}
    searched_until: dict[str, int] = {}
    history: dict[BookKey, dict[Labels, Entry | None] | None] = {}
    closed: dict[str, str] = {}

    @property
    def without_large_integers(self) -> "State":
        """A copy in which each integer beyond 64 bits is a Decimal, because MessagePack has no such integers.

        A histogram's sum in nanoseconds can become that large.
        """
        changed = {
            "counters": {name: widened(values) for name, values in self.counters.items()},
            "spent": {name: widened(values) for name, values in self.spent.items()},
            "histograms": {
                name: {labels: structs.replace(each, total=_wide(each.total)) for labels, each in series.items()}
                for name, series in self.histograms.items()
            },
            "history": {key: None if book is None else widened(book) for key, book in self.history.items()},
        }
        return structs.replace(self, **changed)

    @property
    def empty(self) -> bool:
        return not any(getattr(self, field) for field in _TABLES)

    def update(self, change: "State") -> None:
        self.schemas.update(change.schemas)
        self.last_at.update(change.last_at)
        self.searched_until.update(change.searched_until)
        self.closed.update(change.closed)
        for field in _TABLES:
            tables: dict[Any, dict[Any, Any]] = getattr(self, field)
            for name, entries in getattr(change, field).items():
                if entries is None:
                    tables.pop(name, None)
                    continue
                table = tables.setdefault(name, {})
                table.update(entries)
                for key in [key for key, value in entries.items() if value is None]:
                    del table[key]


def widened(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The entries, with each integer beyond 64 bits as a Decimal."""
    return {key: _wide(value) for key, value in values.items()}


def _wide(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int) and value >= 1 << 64 else value


def keep_compatible(
    state: State, schemas: Mapping[str, MetricSchema], sources: frozenset[str], limits: Limits
) -> tuple[State, list[str]]:
    """The part of a stored state that fits the present catalogue and configuration, except `spent`.

    Also returns one warning for each part that does not fit.
    """
    warnings = []
    kept = State(history=state.history, closed=state.closed)
    for field in (*SOURCE_TABLES, "last_at", "searched_until"):
        setattr(kept, field, {name: each for name, each in getattr(state, field).items() if name in sources})
    for name, schema in state.schemas.items():
        why = _incompatibility(schema, schemas.get(name))
        values: dict[Labels, Any] = state.counters.get(name, {}) or state.histograms.get(name, {})
        if why and values:
            warnings.append(f"{name} is dropped with {len(values)} series: {why}")
        if why or not values:
            continue
        has_source = schema.labels[:1] == ("source",)
        configured = {labels: value for labels, value in values.items() if not has_source or labels[0] in sources}
        (kept.histograms if name in state.histograms else kept.counters)[name] = configured
        kept.created[name] = {labels: state.created[name][labels] for labels in configured}
        cap = limits.series_per_histogram if schema.bounds else limits.series_per_counter
        if len(configured) > cap:
            warnings.append(
                f"{name} keeps its {len(configured)} series, more than the limit of {cap}: new ones fold into `other`"
            )
    removed = sorted((state.positions.keys() | state.last_at.keys()) - sources)
    warnings += [f"source {name} is no longer configured: it is dropped with its series" for name in removed]
    return kept, warnings


def _incompatibility(stored: MetricSchema, present: MetricSchema | None) -> str:
    """Why the stored series of a metric cannot be used, "" if they can."""
    if present is None:
        return "this metric no longer exists"
    if present.labels != stored.labels:
        return f"its labels were {', '.join(stored.labels)} and are now {', '.join(present.labels)}"
    return "" if present.bounds == stored.bounds else "its buckets have changed"
