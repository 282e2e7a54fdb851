"""The exposition is read back by prometheus_client's own parsers, whatever the labels hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter import catalogue as c
from exporter.exposition import OPEN_METRICS, TEXT, negotiate, render
from exporter.ledger import Ledger
from exporter.series import Limits
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
    assert b"_created" not in render(snapshot, {}, OPEN_METRICS)
    assert b"_created" not in render(snapshot, {}, TEXT, created=True)
    asked = render(snapshot, {}, OPEN_METRICS, created=True).decode()
    assert 'dify_errors_created{kind="other",source="s"} 1000.5\n' in asked
    assert 'dify_node_run_duration_seconds_created{node_type="llm",source="s"} 1000.5\n' in asked
    assert list(open_metrics_families(asked))


def test_gauges_of_the_process() -> None:
    gauges = {c.SOURCE_UP: {("s",): 1.0}, c.CHECKPOINT_ERRORS: {(): 2.0}}
    text = render(ledger().snapshot(0), gauges).decode()
    assert 'dify_exporter_source_up{source="s"} 1.0\n' in text
    assert "# TYPE dify_exporter_checkpoint_errors_total counter\ndify_exporter_checkpoint_errors_total 2.0\n" in text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec=None), max_size=200), min_size=1, max_size=5))
def test_any_label_is_read_back(values: list[str]) -> None:
    """Backslash, quote, newline, lone surrogate, empty: one bad value must not fail the scrape."""
    snapshot = ledger(*(b.Usage(app_id=v, provider=v, model=v, input_tokens=1) for v in values)).snapshot(0)
    kept = {labels[1] for labels in snapshot.counters[c.TOKENS_USED]}
    for content_type, families in ((TEXT, text_families), (OPEN_METRICS, open_metrics_families)):
        text = render(snapshot, {}, content_type).decode()
        read = [s for f in families(text) for s in f.samples if s.name == "dify_tokens_used_total"]
        assert {s.labels["app_id"] for s in read} == kept
        assert sum(s.value for s in read) == len(values)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPEN_METRICS,
        ),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=0, text/plain", TEXT),
        ("application/openmetrics-text; q=nan", TEXT),
        ("application/openmetrics-text", OPEN_METRICS),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (",;,=;q", TEXT),
    ],
)
def test_negotiation_respects_qualities(accept: str, content_type: str) -> None:
    assert negotiate(accept) == content_type
