"""Series: plain dictionaries from label values to numbers, with a cap per metric.

A label set that was admitted stays for ever. When a metric has reached its cap, the open labels of a new label set
become `other`. So memory is bounded, totals stay exact, and an exposed counter never changes its labels.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from decimal import Decimal

from msgspec import Struct

from exporter.catalogue import FOLDED_OBSERVATIONS, METRICS, OPEN_LABELS, Metric
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.histogram import Histogram, layout
from parsers.batch import OTHER, UNKNOWN

Labels = tuple[str, ...]

#: The printable characters of ASCII.
_PRINTABLE = bytes(range(0x20, 0x7F))

#: The largest `line_length`, because an unfinished line is kept in memory.
_MAX_LINE = 1 << 30


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: label sets per metric, characters per label value, bytes per line, and open joins per source."""

    series_per_counter: int = 10_000
    series_per_histogram: int = 1_000
    label_length: int = 128
    line_length: int = 1_048_576
    open_joins: int = 10_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.line_length > _MAX_LINE:
            raise ValueError(f"line_length must be at most {_MAX_LINE}, found {self.line_length}")


class Series:
    """All counters and histograms. Not thread-safe: the ledger locks."""

    def __init__(
        self, limits: Limits, clock: Callable[[], float], buckets: Mapping[str, tuple[float, ...]] | None = None
    ) -> None:
        """`clock` returns the wall clock in seconds. `buckets` replaces the bounds of histograms, in seconds."""
        self.limits = limits
        self._clock = clock
        metrics = [m for m in METRICS if m.durable]
        self.bounds = {m: (buckets or {}).get(m.name, m.buckets) for m in metrics if m.kind == "histogram"}
        self.layouts = {m: layout(bounds) for m, bounds in self.bounds.items()}
        self.counters: dict[Metric, ChangeTracker[Labels, int | Decimal]] = {
            m: ChangeTracker() for m in metrics if m.kind == "counter"
        }
        self.histograms: dict[Metric, ChangeTracker[Labels, Histogram]] = {m: ChangeTracker() for m in self.bounds}
        self._label_sets: dict[tuple[str, tuple[Metric, ...]], tuple[int, frozenset[Labels]]] = {}
        self.created: dict[Metric, ChangeTracker[Labels, float]] = {m: ChangeTracker() for m in metrics}

    def room(self, metric: Metric) -> int:
        """How many label sets the metric can add. If there is no room, the open labels of a new one become `other`."""
        if metric in self.histograms:
            return self.limits.series_per_histogram - len(self.histograms[metric])
        return self.limits.series_per_counter - len(self.counters[metric])

    def is_full(self, metric: Metric) -> bool:
        return self.room(metric) <= 0

    def adds_no_series(self, metric: Metric, labels: Labels) -> bool:
        """Whether an observation with these labels adds no series, except one whose open labels are `other`."""
        return labels in self._series_of(metric) or self.is_full(metric)

    def label_sets(self, source: str, metrics: tuple[Metric, ...], length: int) -> Set[Labels]:
        """The first `length` labels behind the source of all series of a source in some metrics.

        Cached, because series are never removed.
        """
        tables = [self._series_of(metric) for metric in metrics]
        size = sum(map(len, tables))
        known_size, known = self._label_sets.get((source, metrics), (-1, frozenset()))
        if known_size != size:
            found = (labels for table in tables for labels in table)
            known = frozenset(labels[1 : length + 1] for labels in found if labels[0] == source)
            self._label_sets[source, metrics] = size, known
        return known

    def add(
        self, metric: Metric, labels: Labels, amount: int | Decimal = 1, observations: int = 1, *, refused: bool = False
    ) -> None:
        """Add an amount to a counter; an amount of 0 creates the series.

        `observations` is the number of log records that are summed up in the amount. With `refused`, the open labels
        of each of them become `other`, so they can have any value here.
        """
        series = self.counters[metric]
        if refused or labels not in series:
            labels = self._admit(metric, labels, series, observations, refused)
        elif not amount:
            return
        series[labels] = series.get(labels, 0) + amount

    def observe(self, metric: Metric, labels: Labels, durations: Histogram, *, refused: bool = False) -> None:
        """Add one or more durations, counted by the layout of the metric. `refused` is the same as in `add`."""
        series = self.histograms[metric]
        if refused or labels not in series:
            labels = self._admit(metric, labels, series, durations.count, refused)
        series[labels] = series[labels].plus(durations) if labels in series else durations

    def _admit(
        self, metric: Metric, labels: Labels, series: Mapping[Labels, object], observations: int, refused: bool
    ) -> Labels:
        """The label set under which an observation counts: cleaned, and folded if the metric is full."""
        labels = cleaned(labels, self.limits.label_length)
        full = self.is_full(metric) and not OPEN_LABELS.isdisjoint(metric.labels)
        if refused or (full and labels not in series):
            before, labels = labels, folded(metric.labels, labels)
            if labels != before:
                self.add(FOLDED_OBSERVATIONS, (metric.name,), observations)
        if labels not in series:
            self.created[metric][labels] = self._clock()
        return labels

    def _series_of(self, metric: Metric) -> Mapping[Labels, object]:
        return self.histograms[metric] if metric in self.histograms else self.counters[metric]


def is_clean(labels: Sequence[str], length: int) -> bool:
    """Whether `cleaned` changes none of these labels."""
    text = "".join(labels)
    # For ASCII, translate takes a sixth of the time of isprintable.
    is_printable = not text.encode().translate(None, _PRINTABLE) if text.isascii() else text.isprintable()
    return is_printable and all(labels) and (len(text) <= length or max(map(len, labels)) <= length)


def cleaned(labels: Labels, length: int) -> Labels:
    """The label set with valid values: bounded, printable UTF-8, not empty. One bad value would break every scrape."""
    return labels if is_clean(labels, length) else tuple(_clean(value, length) for value in labels)


def folded(names: Sequence[str], labels: Labels) -> Labels:
    """The label set under which a full table counts a new one: its open labels become `other`."""
    return tuple([OTHER if name in OPEN_LABELS else value for name, value in zip(names, labels, strict=True)])


def _clean(value: str, length: int) -> str:
    value = value[:length].encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value) or UNKNOWN
