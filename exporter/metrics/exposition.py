"""A snapshot as exposition text, printed by ourselves: prometheus_client's printers would take twenty times as long.

They are what the tests compare with. Formats: Prometheus text 0.0.4 and 1.0.0, and OpenMetrics 1.0 (prometheus/docs,
content_negotiation.md); all our names are legal by every format's older rules, so one text serves both versions of
the text format. What the process says of itself comes from prometheus_client's own collectors.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING

from exporter import catalogue as c
from exporter.ledger.ledger import Snapshot
from exporter.ledger.series import Labels

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

TEXT = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"

_NANOSECONDS = 1_000_000_000
_ENDINGS = ("", "_bucket", "_count", "_sum")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

#: Values of the metrics that live with the process, by metric and label values.
Gauges = Mapping[c.Metric, Mapping[Labels, float]]


class _LabelTexts(dict[Labels, tuple[str, str]]):
    """Of one metric: the labels before and behind the place of `le`, in the order of their names."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, labels: Labels) -> tuple[str, str]:
        pairs = sorted(zip(self._names, labels, strict=True))
        texts = {name: f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs}
        before = ",".join(text for name, text in texts.items() if name < "le")
        behind = ",".join(text for name, text in texts.items() if name > "le")
        self[labels] = before, behind
        return before, behind


class Texts(dict[c.Metric, _LabelTexts]):
    """The labels of each series as text, escaped once. As bounded as the series are, which are never forgotten."""

    def __missing__(self, metric: c.Metric) -> _LabelTexts:
        self[metric] = _LabelTexts(metric.labels)
        return self[metric]


def render(  # noqa: PLR0913 (one keyword a wish of the client)
    snapshot: Snapshot,
    gauges: Gauges,
    content_type: str = TEXT,
    *,
    created: bool = False,
    process: Iterable["Collector"] = (),
    texts: Texts | None = None,
    names: Container[str] = (),
) -> bytes:
    """The text of all series that exist, with those of the `process` collectors behind them.

    `created` adds `_created` samples, which only OpenMetrics carries. `texts` are kept from one call to the next.
    `names`, where there are some, are the metrics or samples to be shown; a metric is shown whole.
    """
    open_metrics = content_type == OPEN_METRICS
    texts = Texts() if texts is None else texts
    lines: list[str] = []
    for metric in c.METRICS:
        if names and not any(metric.name + ending in names for ending in _ENDINGS):
            continue
        births = snapshot.created.get(metric) if created and open_metrics else None
        if values := snapshot.counters.get(metric) or gauges.get(metric):
            lines += _head(metric, open_metrics)
            lines += _plain(metric, values, births, texts[metric])
        elif histograms := snapshot.histograms.get(metric):
            lines += _head(metric, open_metrics)
            lines += _histograms(metric, histograms, snapshot.bounds[metric], births, texts[metric])
    return "".join(lines).encode() + _of_process(process, open_metrics, names)


def _head(metric: c.Metric, open_metrics: bool) -> tuple[str, str]:
    name = metric.name.removesuffix("_total") if open_metrics and metric.kind == "counter" else metric.name
    return f"# HELP {name} {metric.help}\n", f"# TYPE {name} {metric.kind}\n"


def _plain(
    metric: c.Metric,
    values: Mapping[Labels, int | float | Decimal],
    births: Mapping[Labels, float] | None,
    texts: _LabelTexts,
) -> Iterator[str]:
    name = metric.name
    for labels, value in values.items():
        before, behind = texts[labels]
        text = _braces(before, behind)
        yield f"{name}{text} {number(value)}\n"
        if births is not None:
            yield f"{name.removesuffix('_total')}_created{text} {number(births[labels])}\n"


def _histograms(
    metric: c.Metric,
    values: Mapping[Labels, list[int]],
    bounds: Iterable[float],
    births: Mapping[Labels, float] | None,
    texts: _LabelTexts,
) -> Iterator[str]:
    name = metric.name
    les = [*map(number, bounds), "+Inf"]
    for labels, (*counts, total) in values.items():
        before, behind = texts[labels]
        head = f'{name}_bucket{{{before}{"," if before else ""}le="'
        tail = f'"{"," if behind else ""}{behind}}} '
        count = 0
        for le, count in zip(les, accumulate(counts), strict=True):
            yield f"{head}{le}{tail}{number(count)}\n"
        text = _braces(before, behind)
        yield f"{name}_count{text} {number(count)}\n{name}_sum{text} {number(total / _NANOSECONDS)}\n"
        if births is not None:
            yield f"{name}_created{text} {number(births[labels])}\n"


def _braces(before: str, behind: str) -> str:
    inner = f"{before},{behind}" if before and behind else before or behind
    return f"{{{inner}}}" if inner else ""


def number(value: int | float | Decimal) -> str:
    """A number as Go prints it, which has exponents from 10^6 on. Values are finite and at least 0."""
    if isinstance(value, int) and value < 1_000_000:
        return f"{value}.0"
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def _of_process(collectors: Iterable["Collector"], open_metrics: bool, names: Container[str]) -> bytes:
    """Ends with the end of the exposition."""
    if not collectors:
        return b"# EOF\n" if open_metrics else b""
    from prometheus_client import exposition
    from prometheus_client.metrics_core import Metric
    from prometheus_client.openmetrics import exposition as open_metrics_exposition
    from prometheus_client.registry import Collector, CollectorRegistry

    class Chosen(Collector):
        """The families that are asked for, by their own name or that of a sample."""

        def collect(self) -> Iterator[Metric]:
            for family in (family for collector in collectors for family in collector.collect()):
                if not names or family.name in names or any(sample.name in names for sample in family.samples):
                    yield family

    registry = CollectorRegistry()
    registry.register(Chosen())
    text: bytes = (open_metrics_exposition if open_metrics else exposition).generate_latest(registry)
    return text
