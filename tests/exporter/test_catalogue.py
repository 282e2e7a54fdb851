"""The catalogue against Prometheus' conventions."""

import pytest

from exporter import catalogue as c


def test_names_are_unique() -> None:
    names = [metric.name for metric in c.METRICS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", c.METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: c.Metric) -> None:
    assert metric.name.startswith("dify_")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.help.endswith(".")
    assert not {"service", "environment", "instance", "job", "le", "type"} & set(metric.labels)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_every_metric_of_a_log_names_its_source() -> None:
    without = {m.name for m in c.METRICS if m.durable and "source" not in m.labels}
    assert without == {"dify_exporter_folded_observations_total"}


def test_help_needs_no_escape() -> None:
    assert not [metric.name for metric in c.METRICS if set(metric.help) & set('\\\n"')]
