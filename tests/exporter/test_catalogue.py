"""The catalogue against Prometheus' conventions."""

from exporter import catalogue as c


def test_names_are_unique() -> None:
    names = [metric.name for metric in c.METRICS]
    assert len(names) == len(set(names))


def test_names_follow_the_conventions() -> None:
    for metric in c.METRICS:
        assert metric.name.startswith("dify_"), metric
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        assert metric.help.endswith("."), metric
        assert not {"service", "environment", "instance", "job", "le", "type"} & set(metric.labels), metric
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds"), metric
            assert list(metric.buckets) == sorted(set(metric.buckets)), metric


def test_every_metric_of_a_log_names_its_source() -> None:
    without = {m.name for m in c.METRICS if m.durable and "source" not in m.labels}
    assert without == {"dify_exporter_folded_observations_total"}


def test_help_needs_no_escape() -> None:
    assert not [metric.name for metric in c.METRICS if set(metric.help) & set('\\\n"')]
