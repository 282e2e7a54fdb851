"""Prometheus 3 and Alertmanager 0.32 and newer. `make test-prometheus3` builds them and runs these tests.

LOAD is how many seconds the load lasts (default 20), for example `make test-prometheus3 LOAD=300`.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.durations import access_lines, books
from tests.native_rules import TARGET, native
from tests.rules import FILES, ROOT
from tests.system.exporter import serving
from tests.system.programs import find, running, until
from tests.system.stack import DEPLOY, listening, prometheus

QUANTILES = (0.5, 0.95, 0.99)
SECONDS = float(os.environ.get("LOAD", "20"))


def version(program: str) -> tuple[int, ...]:
    ended = subprocess.run([find(program), "--version"], capture_output=True, text=True)
    found = re.search(r"version v?(\d+)\.(\d+)", ended.stdout + ended.stderr)
    return tuple(map(int, found.groups())) if found else ()


@pytest.fixture
def prometheus3() -> None:
    assert version("prometheus")[:1] == (3,), "`make test-prometheus3` builds Prometheus 3"


@pytest.fixture
def alertmanager() -> str:
    assert version("prometheus-alertmanager") >= (0, 32), "`make test-prometheus3` builds Alertmanager 0.32"
    return find("prometheus-alertmanager")


def lay_out(folder: Path, target: str, rules: str) -> None:
    """A configuration that scrapes native histograms every second. The rules are evaluated as often."""
    scrape = {
        "job_name": "dify-exporter",
        "scrape_native_histograms": True,
        "always_scrape_classic_histograms": True,
        "static_configs": [{"targets": [target.removeprefix("http://")]}],
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules, *(str(path) for path in FILES if path.name != "recording.yml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))


def write_slowly(log: Path, lines: list[str], seconds: float) -> threading.Thread:
    """Write all lines in a thread, in equal parts over so many seconds."""

    def write() -> None:
        pause, parts = threading.Event(), max(1, round(seconds * 5))
        size = -(-len(lines) // parts)
        with log.open("a") as file:
            for begin in range(0, len(lines), size):
                file.write("".join(line + "\n" for line in lines[begin : begin + size]))
                file.flush()
                pause.wait(0.2)

    writer = threading.Thread(target=write)
    writer.start()
    return writer


@pytest.mark.timeout(120 + SECONDS)
def test_native_histograms_agree_with_the_book(prometheus3: None, tmp_path: Path) -> None:
    """Under load for LOAD seconds. Recorded quantiles, classic buckets and exemplars are there too."""
    found = books(seed=1, lines=max(1500, round(40 * SECONDS)))
    lines = list(access_lines(found))
    source = '[[source]]\nname = "api"\npaths = ["api.log"]\nparser = "dify"\n'
    (tmp_path / "api.log").touch()
    with serving(tmp_path, source) as exporter:
        lay_out(tmp_path, exporter.url, str(TARGET))
        with prometheus(tmp_path, "--enable-feature=exemplar-storage") as server:
            until("the first scrape", lambda: server.query("up == 1"))
            begun = time.time()
            writer = write_slowly(tmp_path / "api.log", lines, SECONDS)
            writer.join()
            name = "dify_handler_duration_seconds"
            query = f"sum(histogram_count({name}))"
            until("all lines", lambda: [row for row in server.query(query) if float(row["value"][1]) == len(lines)])

            def by_route(expression: str) -> dict[str, float]:
                return {row["metric"]["route"]: float(row["value"][1]) for row in server.query(expression)}

            worst, classic = 0.0, 0.0
            for q in QUANTILES:
                shown = by_route(f"histogram_quantile({q}, sum by (route) ({name}))")
                guessed = by_route(f"histogram_quantile({q}, sum by (route, le) ({name}_bucket))")
                for book in found:
                    exact = book.exact(q)
                    worst = max(worst, abs(shown[book.route] / exact - 1))
                    classic = max(classic, abs(guessed[book.route] / exact - 1))
                    assert shown[book.route] == pytest.approx(exact, rel=0.05), (q, book.route)
            sums = by_route(f"histogram_sum({name})")
            assert sums == pytest.approx({book.route: sum(book.durations) / 10**9 for book in found}, rel=1e-12)
            assert by_route(f"sum by (route) ({name}_count)") == {book.route: len(book.durations) for book in found}
            until("the recorded p95", lambda: server.query("source_route:dify_handler_duration_seconds:p95_rate5m > 0"))
            exemplars = server.get(
                "query_exemplars", query=f"{name}_bucket", start=str(begun - 9e6), end=str(begun + 9e6)
            )
            assert {len(each["labels"]["trace_id"]) for series in exemplars for each in series["exemplars"]} == {32}
            series = len(server.query(f'{{__name__=~"{name}_.+"}}'))
            print(
                f"worst native {worst:.1%}, worst classic {classic:.1%}, series {len(server.query(name))} and {series}"
            )


def test_promtool_3_accepts_all_rules(prometheus3: None) -> None:
    assert TARGET.read_text() == native()
    told = subprocess.run(
        [find("promtool"), "check", "rules", *map(str, FILES), str(TARGET)], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_an_alert_fires_from_native_histograms(prometheus3: None) -> None:
    told = subprocess.run(
        [find("promtool"), "test", "rules", str(ROOT / "rules/native/tests/latency.yml")],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture
def robot() -> Iterator[tuple[str, list[Any]]]:
    """A receiver of WeCom messages: its address, and what it has received."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = b'{"errcode":0,"errmsg":"ok"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", received
        finally:
            server.shutdown()
            thread.join()


def test_the_robot_of_wecom_gets_its_own_body(alertmanager: str, robot: tuple[str, list[Any]], tmp_path: Path) -> None:
    """deploy/alertmanager-payload.yml, with the address of the robot in a file as there."""
    url, received = robot
    (tmp_path / "url").write_text(url)
    config = yaml.safe_load((DEPLOY / "alertmanager-payload.yml").read_text())
    [receiver] = [each for each in config["receivers"] if each["name"] == "wecom"]
    receiver["webhook_configs"][0]["url_file"] = str(tmp_path / "url")
    (tmp_path / "alertmanager.yml").write_text(
        yaml.safe_dump({"route": {"receiver": "wecom", "group_wait": "1s"}, "receivers": [receiver]})
    )
    command = [
        alertmanager, f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data",
        "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
    ]  # fmt: skip
    alert = {"labels": {"alertname": "DifyHighLatency"}, "annotations": {"summary": 'Dify "answers" slowly.\n'}}
    with running(command, tmp_path) as process:
        address = listening(process)
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"http://{address}/api/v2/alerts", json.dumps([alert]).encode(), headers), timeout=10).close()
        until("the message", lambda: received)
    assert received[0]["msgtype"] == "markdown"
    assert received[0]["markdown"]["content"].startswith('FIRING Dify "answers" slowly.')
