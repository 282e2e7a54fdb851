"""Prints a snapshot as exposition text. prometheus_client's printers would take twenty times as long.

The tests compare this output with theirs. Formats: Prometheus text 0.0.4 and 1.0.0, and OpenMetrics 1.0
(prometheus/docs, content_negotiation.md); `exporter.metrics.protobuf` prints PrometheusProto. All our names are legal
under the older rules too, so one text serves both versions of the text format. The `process_*` metrics come from
prometheus_client's own collectors.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from exporter import catalogue as c
from exporter.ledger.histogram import Histogram, layout
from exporter.ledger.series import Labels
from exporter.ledger.snapshot import Snapshot
from exporter.metrics import protobuf
from exporter.metrics.exemplars import NONE, BySeries, Exemplar
from exporter.metrics.gauges import Gauges, of_process, selected
from parsers.values.numbers import SECOND

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

TEXT = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class ScrapeOptions(Struct, frozen=True):
    """What a scrape asks for. Scrapes with equal options share one text.

    `created` adds `_created` samples, which exist in OpenMetrics only; PrometheusProto always has these times. `names`
    is the same as in `selected`.
    """

    content_type: str = TEXT
    created: bool = False
    names: frozenset[str] = frozenset()


DEFAULT = ScrapeOptions()


class _LabelTexts(dict[Labels, tuple[str, str]]):
    """The labels of one metric as text: those whose name sorts before `le`, and those after it.

    `histograms` has the lines of each histogram as they were printed last. Most do not change from scrape to scrape.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self.histograms: dict[Labels, tuple[Histogram, str]] = {}

    def __missing__(self, labels: Labels) -> tuple[str, str]:
        pairs = sorted(zip(self._names, labels, strict=True))
        texts = {name: f'{name}="{value.translate(ESCAPES)}"' for name, value in pairs}
        before = ",".join(text for name, text in texts.items() if name < "le")
        after = ",".join(text for name, text in texts.items() if name > "le")
        self[labels] = before, after
        return before, after


class Texts(dict[c.Metric, _LabelTexts]):
    """A cache of the labels of each series as text, escaped once. It is bounded because the series are.

    `encoded` is the same for PrometheusProto.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoded = protobuf.Cache()

    def __missing__(self, metric: c.Metric) -> _LabelTexts:
        self[metric] = _LabelTexts(metric.labels)
        return self[metric]


def render(
    snapshot: Snapshot,
    gauges: Gauges,
    options: ScrapeOptions = DEFAULT,
    *,
    process: Iterable["Collector"] = (),
    texts: Texts | None = None,
    exemplars: Mapping[c.Metric, BySeries] = NONE,
) -> bytes:
    """Print all series in the format of the options, followed by those of the `process` collectors.

    `texts` is a cache that the caller keeps between calls. The text formats of Prometheus have no `exemplars`.
    """
    texts, names = Texts() if texts is None else texts, options.names
    if options.content_type == PROTOBUF:
        return protobuf.render(snapshot, gauges, process, texts.encoded, names, exemplars)
    open_metrics = options.content_type == OPEN_METRICS
    lines: list[str] = []
    for metric in selected(snapshot, gauges, names):
        examples = exemplars.get(metric, {}) if open_metrics else {}
        created_at = snapshot.created.get(metric) if options.created and open_metrics else None
        if values := snapshot.counters.get(metric) or gauges.get(metric):
            lines += head(metric, open_metrics)
            lines += _plain(metric, values, created_at, texts[metric], examples)
        elif histograms := snapshot.histograms.get(metric):
            lines += head(metric, open_metrics)
            lines += _histograms(metric, histograms, snapshot.bounds[metric], created_at, texts[metric], examples)
    return "".join(lines).encode() + _of_process(process, open_metrics, names)


def head(metric: c.Metric, open_metrics: bool) -> tuple[str, str]:
    name = metric.name.removesuffix("_total") if open_metrics and metric.kind == "counter" else metric.name
    return f"# HELP {name} {metric.help}\n", f"# TYPE {name} {metric.kind}\n"


def _plain(
    metric: c.Metric,
    values: Mapping[Labels, int | float | Decimal],
    created_at: Mapping[Labels, float] | None,
    texts: _LabelTexts,
    exemplars: BySeries,
) -> Iterator[str]:
    name = metric.name
    for labels, value in values.items():
        before, after = texts[labels]
        text = _braces(before, after)
        example = _example(exemplars[labels][0]) if labels in exemplars else ""
        yield f"{name}{text} {number(value)}{example}\n"
        if created_at is not None:
            yield f"{name.removesuffix('_total')}_created{text} {number(created_at[labels])}\n"


def _histograms(
    metric: c.Metric,
    values: Mapping[Labels, Histogram],
    bounds: tuple[float, ...],
    created_at: Mapping[Labels, float] | None,
    texts: _LabelTexts,
    exemplars: BySeries,
) -> Iterator[str]:
    name = metric.name
    les = [*map(number, bounds), "+Inf"]
    cumulative = layout(bounds).cumulative
    for labels, histogram in values.items():
        before, after = texts[labels]
        printed, text = texts.histograms.get(labels, (None, ""))
        examples = exemplars.get(labels)
        if printed is not histogram or examples:
            begin = f'{name}_bucket{{{before}{"," if before else ""}le="'
            tail = f'"{"," if after else ""}{after}}} '
            counts = [*map(number, cumulative(histogram))]
            lines = [f"{begin}{le}{tail}{count}\n" for le, count in zip(les, counts, strict=True)]
            braces = _braces(before, after)
            lines.append(f"{name}_count{braces} {counts[-1]}\n{name}_sum{braces} {number(histogram.total / SECOND)}\n")
            for bucket, exemplar in (examples or {}).items():
                lines[bucket] = f"{lines[bucket][:-1]}{_example(exemplar)}\n"
            text = "".join(lines)
            if not examples:
                texts.histograms[labels] = histogram, text
        yield text
        if created_at is not None:
            yield f"{name}_created{_braces(before, after)} {number(created_at[labels])}\n"


def _example(exemplar: Exemplar) -> str:
    """An exemplar behind its sample (OpenMetrics 1.0, section 5.1.6)."""
    return f' # {{trace_id="{exemplar.trace_id}"}} {number(exemplar.value)} {exemplar.at:.3f}'


def _braces(before: str, after: str) -> str:
    inner = f"{before},{after}" if before and after else before or after
    return f"{{{inner}}}" if inner else ""


def number(value: int | float | Decimal) -> str:
    """Print a number as Go does: with an exponent from 10^6 on. The value must be finite and at least 0."""
    if isinstance(value, int) and value < 1_000_000:
        return f"{value}.0"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def _of_process(collectors: Iterable["Collector"], open_metrics: bool, names: Container[str]) -> bytes:
    """Print the metrics of collectors, and the end marker that OpenMetrics needs."""
    if not collectors:
        return b"# EOF\n" if open_metrics else b""
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as open_metrics_exposition

    registry: Any = SimpleNamespace(collect=partial(of_process, collectors, names))
    text: bytes = (open_metrics_exposition if open_metrics else exposition).generate_latest(registry)
    return text
