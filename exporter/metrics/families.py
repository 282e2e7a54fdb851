"""Which metrics a scrape shows, in any of its forms."""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from exporter import catalogue as c
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

_ENDINGS = ("", "_bucket", "_count", "_sum")

#: The values of metrics that are not durable, by metric and label values.
Gauges = Mapping[c.Metric, Mapping[Labels, float]]


def selected(snapshot: Snapshot, gauges: Gauges, names: Container[str]) -> Iterator[c.Metric]:
    """The metrics that have series. If `names` is not empty, only those with such a name or a sample of such a name."""
    for metric in c.METRICS:
        if names and not any(metric.name + ending in names for ending in _ENDINGS):
            continue
        if snapshot.counters.get(metric) or gauges.get(metric) or snapshot.histograms.get(metric):
            yield metric


def of_process(collectors: Iterable["Collector"], names: Container[str]) -> Iterator["Metric"]:
    for family in (family for collector in collectors for family in collector.collect()):
        if not names or family.name in names or any(sample.name in names for sample in family.samples):
            yield family
