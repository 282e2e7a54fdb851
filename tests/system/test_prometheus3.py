"""Prometheus 3 and Alertmanager 0.32 and newer. `make test-prometheus3` builds them and runs these tests.

LOAD is how many seconds the load lasts (default 20), for example `make test-prometheus3 LOAD=300`.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.drill.receivers import TOKEN, Receivers, receiving
from tests.durations import access_lines, books
from tests.native_rules import TARGET, native
from tests.rules import FILES, ROOT
from tests.system.exporter import serving
from tests.system.programs import find, running, until
from tests.system.stack import DEPLOY, faster, listening, prometheus

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

            def whole() -> list[str]:
                """The time at which all lines were there."""
                return [str(row["value"][0]) for row in server.query(query) if float(row["value"][1]) == len(lines)]

            (moment,) = until("all lines", whole)

            def at_moment(expression: str) -> list[dict[str, Any]]:
                """Later, a scrape that was too slow may have ended the series."""
                found: list[dict[str, Any]] = server.get("query", query=expression, time=moment)["result"]
                return found

            def by_route(expression: str) -> dict[str, float]:
                return {row["metric"]["route"]: float(row["value"][1]) for row in at_moment(expression)}

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
            native, series = len(at_moment(name)), len(at_moment(f'{{__name__=~"{name}_.+"}}'))
            print(f"worst native {worst:.1%}, worst classic {classic:.1%}, series {native} and {series}")


def test_promtool_3_accepts_all_rules(prometheus3: None) -> None:
    assert TARGET.read_text() == native()
    result = subprocess.run(
        [find("promtool"), "check", "rules", *map(str, FILES), str(TARGET)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_alert_fires_from_native_histograms(prometheus3: None) -> None:
    result = subprocess.run(
        [find("promtool"), "test", "rules", str(ROOT / "rules/native/tests/latency.yml")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


SECRETS = {
    "feishu_url": "/open-apis/bot/v2/hook/a-token",
    "dingtalk_url": f"/robot/send?access_token={TOKEN}",
    "wecom_robot_url": f"/cgi-bin/webhook/send?key={TOKEN}",
}

#: Text that breaks JSON, YAML and Markdown if it is pasted into them.
AWKWARD = 'p95 of "POST /v1/chat-messages": 12.5 s > 10 s; {a: [b]}\n- & # % \\ 延迟过高'


@pytest.fixture
def robots(alertmanager: str, tmp_path: Path) -> Iterator[tuple[Receivers, str]]:
    """The three robots, and the address of an Alertmanager that runs deploy/alertmanager.yml with their secrets."""
    with receiving() as receivers:
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        for name, path in SECRETS.items():
            (secrets / name).write_text(f"{receivers.address}{path}\n")
        script = ["sh", DEPLOY / "alertmanager-secrets.sh", DEPLOY / "alertmanager.yml", secrets]
        filled = subprocess.run(script, capture_output=True, text=True)
        assert filled.returncode == 0, filled.stderr
        config = filled.stdout.replace("/etc/alertmanager/secrets", str(secrets))
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(faster(yaml.safe_load(config), 60)))
        command = [
            alertmanager, f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data",
            "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
        ]  # fmt: skip
        with running(command, tmp_path) as process:
            yield receivers, f"http://{listening(process)}"


def send(url: str, instances: Iterable[str], *, description: str = AWKWARD, ends: bool = False) -> None:
    """Send one alert per instance to an Alertmanager."""
    now = datetime.now(UTC)
    alerts = [
        {
            "labels": {"alertname": "DifyHighLatency", "severity": "critical", "cluster": "c", "instance": each},
            "annotations": {
                "summary": f"Dify of {each} is slow",
                "description": description,
                "runbook_url": "https://wiki.example.org/DifyHighLatency",
                "dashboard_url": "https://grafana.example.org/d/dify",
            },
            "startsAt": (now - timedelta(minutes=1)).isoformat(),
            "endsAt": (now if ends else now + timedelta(hours=1)).isoformat(),
        }
        for each in instances
    ]
    headers = {"Content-Type": "application/json"}
    urlopen(Request(f"{url}/api/v2/alerts", json.dumps(alerts).encode(), headers), timeout=10).close()


ROBOTS = ("Feishu", "DingTalk", "WeCom robot")


def test_each_robot_gets_a_body_that_it_accepts(robots: tuple[Receivers, str]) -> None:
    """It fires and is resolved; the text arrives as it is."""
    receivers, url = robots
    send(url, ["a"])
    messages = [
        until(f"{name} fires", lambda name=name: receivers.find(name, "firing", "Dify of a")) for name in ROBOTS
    ]
    for message in messages:
        assert message.text.startswith("**FIRING")
        assert AWKWARD in message.text
        assert "https://wiki.example.org/DifyHighLatency" in message.text
        assert "https://grafana.example.org/d/dify" in message.text
    send(url, ["a"], ends=True)
    for name in ROBOTS:
        until(f"{name} is resolved", lambda name=name: receivers.find(name, "resolved", "DifyHighLatency"))
    assert receivers.refused == []


def test_a_robot_accepts_a_message_about_many_long_alerts(robots: tuple[Receivers, str]) -> None:
    """The robots refuse messages that are too long, and Alertmanager would not notice."""
    receivers, url = robots
    send(url, map(str, range(200)), description="很慢" * 2000)
    for name in ROBOTS:
        until(f"{name} fires", lambda name=name: receivers.find(name, "firing", "DifyHighLatency") or receivers.refused)
    assert receivers.refused == []
