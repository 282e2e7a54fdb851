"""A real Prometheus scrapes the samples; promtool finds nothing to say."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden import config, golden_file
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import find, running, until
from tests.system.stack import prometheus

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def samples_exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    tmp_path = tmp_path_factory.mktemp("samples")
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    config = (ROOT / "exporter.toml").read_text()
    text = re.sub(r"(?m)^listen = .*$", 'listen = "127.0.0.1:0"', config)
    (tmp_path / "exporter.toml").write_text(text)
    with running([COMMAND, "serve"], tmp_path) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        yield exporter


def test_prometheus_scrapes_the_default_configuration(samples_exporter: Exporter, tmp_path: Path) -> None:
    address = samples_exporter.url.removeprefix("http://")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n- job_name: dify-exporter\n"
        f"  static_configs: [{{targets: ['{address}']}}]\n"
    )
    with prometheus(tmp_path) as server:
        until("the first scrape", lambda: server.query("up == 1"))
        (requests,) = server.query("sum(dify_requests_total)")
        assert float(requests["value"][1]) == samples_exporter.value("dify_requests_total")
        assert server.query("sum(dify_tokens_used_total) > 0")
        assert server.query("histogram_quantile(0.95, sum by (le) (dify_request_duration_seconds_bucket)) > 0")
        assert server.query("scrape_samples_scraped")[0]["value"][1] != "0"


def test_promtool_has_nothing_to_say(samples_exporter: Exporter) -> None:
    result = subprocess.run(
        [find("promtool"), "check", "metrics"],
        input=samples_exporter.metrics(),
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_both_formats_are_read_back(samples_exporter: Exporter) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
    from prometheus_client.parser import text_string_to_metric_families as text

    # A worker's run is final 2 s after its end: until then the two scrapes may differ by it.
    until("all runs", lambda: samples_exporter.value("dify_runs_total") == _golden_runs())
    plain = {(s.name, *sorted(s.labels.items())): s.value for f in text(samples_exporter.metrics()) for s in f.samples}
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3"
    body = samples_exporter.get("/metrics", Accept=accept)
    assert body.endswith("# EOF\n")
    opened = {(s.name, *sorted(s.labels.items())): s.value for f in open_metrics(body) for s in f.samples}
    ours = _counted(plain)
    assert ours == _counted(opened)
    created = samples_exporter.get("/metrics?created=true", Accept=accept)
    assert "dify_requests_created{" in created
    assert "_created" not in body
    assert "_created" not in "".join(name for name, *_ in plain if name.startswith("dify_"))


def _golden_runs() -> float:
    """The number of runs in the golden expositions of the samples."""
    from prometheus_client.parser import text_string_to_metric_families as text

    files = [golden_file(source).read_text() for source in config().sources]
    return sum(s.value for file in files for f in text(file) for s in f.samples if s.name == "dify_runs_total")


def _counted(samples: dict[tuple, float]) -> dict[tuple, float]:
    """Ours, without the one that each scrape moves."""
    moved = "dify_exporter_checkpoint_timestamp_seconds"
    return {key: value for key, value in samples.items() if key[0].startswith("dify_") and key[0] != moved}
