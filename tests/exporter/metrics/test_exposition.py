"""The exposition is what prometheus_client would print, and its own parsers read it back, whatever the labels hold."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import PlatformCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as open_metrics_exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from exporter import catalogue as c
from exporter.ledger.histogram import layout
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.ledger.snapshot import Snapshot
from exporter.metrics.exposition import OPEN_METRICS, TEXT, Gauges, ScrapeOptions, Texts, render
from parsers import batch as b


def ledger(*records: b.Record) -> Ledger:
    books = Ledger(Limits(), clock=lambda: 1000.5)
    books.enter("s", b.Batch(lines=len(records), records=records))
    return books


def test_a_histogram_is_cumulative_and_in_seconds() -> None:
    text = render(ledger(b.NodeRun("llm", "succeeded", 1_500_000_000)).snapshot(0), {}).decode()
    labels = 'node_type="llm",source="s"'
    assert f'dify_node_run_duration_seconds_bucket{{le="1.0",{labels}}} 0.0\n' in text
    assert f'dify_node_run_duration_seconds_bucket{{le="2.0",{labels}}} 1.0\n' in text
    assert f'dify_node_run_duration_seconds_bucket{{le="+Inf",{labels}}} 1.0\n' in text
    assert f"dify_node_run_duration_seconds_sum{{{labels}}} 1.5\n" in text
    assert f"dify_node_run_duration_seconds_count{{{labels}}} 1.0\n" in text
    assert "# TYPE dify_node_runs_total counter\n" in text
    assert "_created" not in text


def test_created_is_told_only_where_asked_for() -> None:
    snapshot = ledger(b.Failure("other"), b.NodeRun("llm", "succeeded", 1)).snapshot(0)
    assert b"_created" not in render(snapshot, {}, ScrapeOptions(OPEN_METRICS))
    assert b"_created" not in render(snapshot, {}, ScrapeOptions(created=True))
    asked = render(snapshot, {}, ScrapeOptions(OPEN_METRICS, created=True)).decode()
    assert 'dify_errors_created{kind="other",source="s"} 1000.5\n' in asked
    assert 'dify_node_run_duration_seconds_created{node_type="llm",source="s"} 1000.5\n' in asked
    assert list(open_metrics_families(asked))


def test_gauges_of_the_process() -> None:
    gauges = {c.SOURCE_UP: {("s",): 1.0}, c.CHECKPOINT_ERRORS: {(): 2.0}}
    text = render(ledger().snapshot(0), gauges).decode()
    assert 'dify_exporter_source_up{source="s"} 1.0\n' in text
    assert "# TYPE dify_exporter_checkpoint_errors_total counter\ndify_exporter_checkpoint_errors_total 2.0\n" in text


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(st.lists(st.text(alphabet=st.characters(codec=None), max_size=200), min_size=1, max_size=5))
def test_any_label_is_read_back(values: list[str]) -> None:
    """Backslash, quote, newline, lone surrogate, empty: one bad value must not fail the scrape."""
    snapshot = ledger(*(b.Usage(app_id=v, provider=v, model=v, input_tokens=1) for v in values)).snapshot(0)
    kept = {labels[1] for labels in snapshot.counters[c.TOKENS_USED]}
    for content_type, families in ((TEXT, text_families), (OPEN_METRICS, open_metrics_families)):
        text = render(snapshot, {}, ScrapeOptions(content_type)).decode()
        read = [s for f in families(text) for s in f.samples if s.name == "dify_tokens_used_total"]
        assert {s.labels["app_id"] for s in read} == kept
        assert sum(s.value for s in read) == len(values)


class Reference(Collector):
    """The same snapshot as prometheus_client's families."""

    def __init__(self, snapshot: Snapshot, gauges: Gauges, created: bool) -> None:
        self.snapshot, self.gauges, self.created = snapshot, gauges, created

    def collect(self) -> Iterable[Metric]:
        for metric in c.METRICS:
            births = self.snapshot.created.get(metric, {}) if self.created else {}
            if values := self.snapshot.counters.get(metric):
                family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in values.items():
                    family.add_metric(labels, float(value), births.get(labels))
                yield family
            elif histograms := self.snapshot.histograms.get(metric):
                yield self.histogram(metric, histograms, births)
            elif gauges := self.gauges.get(metric):
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=metric.labels)
                for labels, value in gauges.items():
                    family.add_metric(labels, value)
                yield family

    def histogram(self, metric, values, births) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*map(floatToGoString, self.snapshot.bounds[metric]), "+Inf"]
        cumulative = layout(self.snapshot.bounds[metric]).cumulative
        for labels, found in values.items():
            counts = cumulative(found)
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), found.total / 10**9)
            if labels in births:
                named = dict(zip(metric.labels, labels, strict=True))
                family.add_sample(f"{metric.name}_created", named, births[labels])
        return family


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=6)
COUNTS = st.integers(0, 10**17) | st.integers(0, 2 * 10**6)
DURATIONS = st.lists(st.integers(0, 4 * 10**12), min_size=1, max_size=5).map(tuple)
RECORDS = st.one_of(
    st.builds(b.Request, TEXTS, TEXTS, TEXTS, st.sampled_from(["", "timeout"]), COUNTS, COUNTS, DURATIONS, DURATIONS),
    st.builds(b.Usage, TEXTS, TEXTS, TEXTS, COUNTS, cost=st.decimals(0, 10**9, places=7)),
    st.builds(b.NodeRun, TEXTS, TEXTS, st.integers(0, 10**13)),
    st.builds(b.FirstToken, TEXTS, TEXTS, st.integers(0, 10**13)),
)
GAUGES = st.fixed_dictionaries(
    {
        c.CHECKPOINT_ERRORS: st.fixed_dictionaries({(): st.floats(0, 1e20)}),
        c.SOURCE_UP: st.dictionaries(st.tuples(TEXTS), st.floats(0, 1e20), max_size=3),
        c.APP_INFO: st.dictionaries(st.tuples(TEXTS, TEXTS, TEXTS), st.just(1.0), max_size=3),
    }
)


@pytest.mark.parametrize("content_type", [TEXT, OPEN_METRICS])
@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(records=st.lists(RECORDS, max_size=8), gauges=GAUGES, created=st.booleans())
def test_it_is_what_prometheus_client_prints(content_type, records, gauges, created) -> None:
    snapshot = ledger(*records).snapshot(0)
    process = PlatformCollector(registry=None)
    registry = CollectorRegistry()
    registry.register(Reference(snapshot, gauges, created and content_type == OPEN_METRICS))
    registry.register(process)
    printer = open_metrics_exposition if content_type == OPEN_METRICS else exposition
    expected = printer.generate_latest(registry).decode().splitlines()
    texts = Texts()
    for _ in range(2):
        found = render(snapshot, gauges, ScrapeOptions(content_type, created), process=[process], texts=texts).decode()
        assert found.splitlines() == expected


def test_a_histogram_counts_as_its_counter() -> None:
    """One snapshot for both: a scrape between two records does not exist."""
    snapshot = ledger(*[b.NodeRun("llm", "succeeded", 10**9)] * 7, b.NodeRun("llm", "failed", 10**9)).snapshot(0)
    text = render(snapshot, {}).decode()
    assert 'dify_node_run_duration_seconds_count{node_type="llm",source="s"} 8.0\n' in text
    assert 'dify_node_runs_total{node_type="llm",source="s",status="succeeded"} 7.0\n' in text
    assert 'dify_node_runs_total{node_type="llm",source="s",status="failed"} 1.0\n' in text


def test_only_what_is_named_is_shown_and_whole() -> None:
    ledger = Ledger(Limits(), lambda: 1000.0)
    ledger.enter("s", b.Batch(records=(b.Request("GET", "/v1/info", "200", durations=(5,)),)))
    snapshot = ledger.snapshot(None)
    for content_type, families in ((TEXT, text_families), (OPEN_METRICS, open_metrics_families)):
        names = frozenset({"dify_request_duration_seconds_sum", "python_info", "nothing"})
        text = render(
            snapshot, {}, ScrapeOptions(content_type, names=names), process=(PlatformCollector(registry=None),)
        ).decode()
        found = {family.name: len(family.samples) for family in families(text)}
        assert found.keys() == {"dify_request_duration_seconds", "python_info"}
        assert found["dify_request_duration_seconds"] == len(c.REQUEST_DURATION.buckets) + 3
