"""promtool takes what `backfill` writes, and a real Prometheus shows it."""

import signal
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.system.exporter import COMMAND, serving
from tests.system.programs import running, until
from tests.system.stack import prometheus

pytestmark = pytest.mark.system

FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)


def test_increase_by_day_is_what_was_logged(tmp_path: Path) -> None:
    per_day = (200, 50, 400)
    with (tmp_path / "access.log").open("w") as log:
        for day, requests in enumerate(per_day):
            for number in range(requests):
                at = FIRST + timedelta(days=day, seconds=3600 + number * 60_000 / requests)
                log.write(f'10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET /v1/info HTTP/1.1" 200 47 "-" "c" "-"\n')
    command = [COMMAND, "backfill", "access.log", "--blocks", "data", "--label", "job=dify-exporter"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100)
    assert " blocks written" in done.stderr
    assert not list((tmp_path / "data").glob(".backfill-*"))
    (tmp_path / "prometheus.yml").write_text("{}")
    with prometheus(tmp_path, "--storage.tsdb.retention.time=1y") as server:
        for day, requests in enumerate(per_day):
            midnight = (FIRST + timedelta(days=day + 1)).timestamp()
            expression = "sum(increase(dify_requests_total{job='dify-exporter'}[1d]))"
            [found] = server.get("query", query=expression, time=str(midnight))["result"]
            assert float(found["value"][1]) == pytest.approx(requests, rel=0.01)


SCRAPE = """
scrape_configs:
  - job_name: {job}
    scrape_interval: 1s
    static_configs: [{{targets: ["{target}"]}}]
    relabel_configs: [{{target_label: instance, replacement: dify-1}}]
"""


def test_serve_goes_on_where_the_blocks_end(tmp_path: Path) -> None:
    """One line from the past to now, in a Prometheus that scraped other jobs before; it forgets nothing of them."""
    now = datetime.now(UTC)
    source = '[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\n'
    (tmp_path / "exporter.toml").write_text(source)
    line = '10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET /v1/info HTTP/1.1" 200 47 "-" "c" "-"\n'
    past = "".join(line.format(at=now - timedelta(minutes=number)) for number in range(200, -1, -1))
    (tmp_path / "access.log").write_text(past)
    (tmp_path / "prometheus.yml").write_text(SCRAPE.format(job="other", target="127.0.0.1:1"))
    with prometheus(tmp_path) as server:
        until("scrapes of another job", lambda: server.query('count_over_time(up{job="other"}[9m]) >= 3'))
    labels = ("--label", "job=dify-exporter", "--label", "instance=dify-1")
    command = [COMMAND, "backfill", "access.log", "--blocks", "data", *labels, "--adopt"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=100)
    with (tmp_path / "access.log").open("a") as log:
        log.write(line.format(at=datetime.now(UTC)))
    with serving(tmp_path, source) as exporter:
        target = exporter.url.removeprefix("http://")
        (tmp_path / "prometheus.yml").write_text(SCRAPE.format(job="dify-exporter", target=target))
        with prometheus(tmp_path) as server:
            until("the line", lambda: server.query("dify_requests_total == 202"))
            assert server.query('count_over_time(up{job="other"}[9m]) >= 3'), "the write-ahead log was not dropped"
            [requests] = server.query("dify_requests_total[4h]")
            values = [int(value) for _, value in requests["values"]]
            assert values == sorted(values)
            assert {later - earlier for earlier, later in pairwise(values)} <= {0, 1}, "no step, no reset"
            for name in ("dify_exporter_lines_total", "dify_exporter_read_bytes_total"):
                assert all(each["value"][1] == "0" for each in server.query(f"resets({name}[4h])"))


def test_a_signal_leaves_neither_samples_nor_state(tmp_path: Path) -> None:
    """Ctrl-C, `kill` and a closed terminal in the middle of months of samples."""
    line = '10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET /v1/info HTTP/1.1" 200 47 "-" "c" "-"\n'
    (tmp_path / "access.log").write_text(line.format(at=FIRST - timedelta(days=900)) + line.format(at=FIRST))
    (tmp_path / "exporter.toml").write_text('[[source]]\nname = "nginx"\npaths = ["access.log"]\nparser = "nginx"\n')
    for number, target in {
        signal.SIGINT: ("--output", "past.om"),
        signal.SIGTERM: ("--blocks", "data"),
        signal.SIGHUP: ("--output", "past.om"),
    }.items():
        command = [COMMAND, "backfill", "access.log", *target, "--adopt"]
        with running(command, tmp_path) as process:
            until("the first samples", lambda: [p for p in tmp_path.rglob("*.om*") if p.stat().st_size])
            process.send(number)
            assert process.ended() == 128 + number
        left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
        assert left == {"access.log", "exporter.toml", "lock"}
