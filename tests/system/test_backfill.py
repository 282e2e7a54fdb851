"""promtool takes what `backfill` writes, and a real Prometheus shows it."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.system.exporter import COMMAND
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
