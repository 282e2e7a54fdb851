"""A snapshot as exposition text, by prometheus_client's printers.

Formats: Prometheus text 0.0.4 and OpenMetrics 1.0 (prometheus/docs, content_negotiation.md).
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import accumulate

from prometheus_client import exposition as text_format
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as open_metrics
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from exporter import catalogue as c
from exporter.ledger import Snapshot
from exporter.series import Labels

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_NANOSECONDS = 1_000_000_000

#: Values of the metrics that live with the process, by metric and label values.
Gauges = Mapping[c.Metric, Mapping[Labels, float]]


def render(
    snapshot: Snapshot,
    gauges: Gauges,
    content_type: str = TEXT,
    *,
    created: bool = False,
    process: Iterable[Collector] = (),
) -> bytes:
    """The text of all series that exist, with those of the `process` collectors behind them.

    `created` adds `_created` samples, which only OpenMetrics carries.
    """
    registry = CollectorRegistry()
    registry.register(_Families(snapshot, gauges, created and content_type == OPEN_METRICS))
    for collector in process:
        registry.register(collector)
    printer = open_metrics if content_type == OPEN_METRICS else text_format
    text: bytes = printer.generate_latest(registry)
    return text


class _Families(Collector):
    def __init__(self, snapshot: Snapshot, gauges: Gauges, created: bool) -> None:
        self._snapshot = snapshot
        self._gauges = gauges
        self._created = created

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot
        for metric in c.METRICS:
            if values := snapshot.counters.get(metric):
                yield self._counter(metric, values)
            elif histograms := snapshot.histograms.get(metric):
                yield self._histogram(metric, histograms)
            elif gauges := self._gauges.get(metric):
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=metric.labels)
                for labels, value in gauges.items():
                    family.add_metric(labels, value)
                yield family

    def _created_of(self, metric: c.Metric, labels: Labels) -> float | None:
        return self._snapshot.created[metric][labels] if self._created else None

    def _counter(self, metric: c.Metric, values: Mapping[Labels, int | Decimal]) -> Metric:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values.items():
            family.add_metric(labels, float(value), self._created_of(metric, labels))
        return family

    def _histogram(self, metric: c.Metric, values: Mapping[Labels, list[int]]) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*map(floatToGoString, self._snapshot.bounds[metric]), "+Inf"]
        for labels, (*counts, total) in values.items():
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total / _NANOSECONDS)
            if (created := self._created_of(metric, labels)) is not None:
                named = dict(zip(metric.labels, labels, strict=True))
                family.add_sample(f"{metric.name}_created", named, created)
        return family


def negotiate(accept: str) -> str:
    """The content type for an Accept header (RFC 9110 §12.5.1): the better quality, OpenMetrics where equal."""
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for media_range in accept.split(","):
        media, *parameters = (part.strip() for part in media_range.split(";"))
        offered = "text/plain" if media in ("*/*", "text/*") else media
        if offered in quality:
            quality[offered] = max(quality[offered], _quality(parameters))
    wanted = quality["application/openmetrics-text"]
    return OPEN_METRICS if wanted > 0 and wanted >= quality["text/plain"] else TEXT


def _quality(parameters: Iterable[str]) -> float:
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0
