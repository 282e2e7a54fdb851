"""PrometheusProto says what the text says, and its native histograms hold each duration in the right bucket."""

from collections import Counter
from fractions import Fraction
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.utils import floatToGoString

from exporter import catalogue as c
from exporter.ledger.exponential import SCHEMA
from exporter.metrics.exposition import PROTOBUF, ScrapeOptions, Texts, render
from parsers import batch as b
from tests.exporter.metrics.metrics_proto import families, native_buckets
from tests.exporter.metrics.test_exposition import GAUGES, RECORDS, ledger

Sample = tuple[str, frozenset[tuple[str, str]]]


def index_of(duration: int) -> int:
    """Prometheus' definition of the index, without floats."""
    eighth_power, index = Fraction(duration, 10**9) ** 8, -240
    while Fraction(2) ** index < eighth_power:
        index += 1
    return index


def as_samples(body: bytes) -> dict[Sample, float]:
    """Each family as the samples of the text format."""
    found: dict[Sample, float] = {}
    for family in families(body):
        for metric in family.metric:
            labels = [(pair.name, pair.value) for pair in metric.label]
            if family.type == 4:
                buckets = [(each.upper_bound, each.cumulative_count) for each in metric.histogram.bucket]
                for bound, count in (*buckets, (inf, metric.histogram.sample_count)):
                    le = ("le", floatToGoString(bound))
                    found[f"{family.name}_bucket", frozenset((*labels, le))] = count
                found[f"{family.name}_count", frozenset(labels)] = metric.histogram.sample_count
                found[f"{family.name}_sum", frozenset(labels)] = metric.histogram.sample_sum
            else:
                assert family.type in (0, 1)
                found[family.name, frozenset(labels)] = (metric.gauge if family.type else metric.counter).value
    return found


def of_text(text: str) -> dict[Sample, float]:
    samples = (sample for family in text_families(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(records=st.lists(RECORDS, max_size=8), gauges=GAUGES)
def test_it_says_what_the_text_says(records, gauges) -> None:
    books, texts, process = ledger(*records), Texts(), [PlatformCollector(registry=None)]
    for _ in range(3):  # new series, the cache, and series that have changed
        for _ in range(2):
            snapshot = books.snapshot(0)
            text = render(snapshot, gauges, process=process).decode()
            assert as_samples(
                render(snapshot, gauges, ScrapeOptions(PROTOBUF), process=process, texts=texts)
            ) == of_text(text)
        books.enter("s", b.Batch(lines=len(records), records=tuple(records)))


@given(
    st.lists(
        st.integers(0, 2**63 - 1) | st.integers(0, 5 * 10**9) | st.just(0) | st.sampled_from([10**6, 10**9]), min_size=1
    )
)
def test_a_native_histogram_holds_each_duration_in_its_bucket(durations: list[int]) -> None:
    snapshot = ledger(b.NodeRun("llm", "succeeded", count=len(durations), durations=tuple(durations))).snapshot(0)
    [family] = families(render(snapshot, {}, ScrapeOptions(PROTOBUF, names=frozenset({c.NODE_RUN_DURATION.name}))))
    [metric] = family.metric
    found = metric.histogram
    assert (found.schema, SCHEMA) == (3, 3)
    assert native_buckets(found) == Counter(index_of(duration) for duration in durations if duration)
    assert found.zero_count == durations.count(0)
    assert 0 < found.zero_threshold < 1e-9
    assert found.sample_count == len(durations) == sum(native_buckets(found).values()) + found.zero_count
    assert found.sample_sum == sum(durations) / 10**9


def test_a_long_row_of_empty_buckets_is_not_written() -> None:
    durations = (10**6, 10**6 + 1, 600 * 10**9)
    snapshot = ledger(b.NodeRun("llm", "succeeded", count=3, durations=durations)).snapshot(0)
    [family] = families(render(snapshot, {}, ScrapeOptions(PROTOBUF, names=frozenset({c.NODE_RUN_DURATION.name}))))
    spans = family.metric[0].histogram.positive_span
    assert [span.length for span in spans] == [2, 1]  # the first empty bucket is written
    assert spans[0].offset + 2 + spans[1].offset == index_of(600 * 10**9)


def test_counters_and_histograms_have_the_time_at_which_they_began() -> None:
    snapshot = ledger(b.NodeRun("llm", "succeeded", 10**9)).snapshot(0)
    gauges = {c.SOURCE_UP: {("s",): 1.0}}
    for family in families(render(snapshot, gauges, ScrapeOptions(PROTOBUF))):
        for metric in family.metric:
            if family.name == c.SOURCE_UP.name:
                assert metric.gauge.value == 1.0
                continue
            value = metric.histogram if family.type == 4 else metric.counter
            assert (value.created_timestamp.seconds, value.created_timestamp.nanos) == (1000, 500_000_000)


def test_the_collectors_of_the_process_are_there() -> None:
    body = render(ledger().snapshot(0), {}, ScrapeOptions(PROTOBUF), process=[ProcessCollector(registry=None)])
    found = {family.name: family for family in families(body)}
    assert found["process_cpu_seconds_total"].metric[0].counter.value > 0
    assert found["process_open_fds"].metric[0].gauge.value > 0
