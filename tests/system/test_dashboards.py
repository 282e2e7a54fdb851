"""Every query of every dashboard, run in a real Prometheus on what a real exporter reads from the samples."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from grafana.dashboards import FOLDER, rendered
from tests.promql import names
from tests.rules import exposed, rules
from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import DEADLINE, find, running
from tests.system.stack import Prometheus, blackbox, lay_out, operators_prometheus
from tests.system.test_probes import Pages, served

ROOT = Path(__file__).parents[2]
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(name, panel["title"], target["expr"], id=f"{name}-{panel['title']}-{target['refId']}")
    for name, panel in PANELS
    for target in panel["targets"]
]

#: Panels that may be empty on samples, and why.
EMPTY = {
    "Firing alerts": "no alert fires here; another test covers the path of alerts",
    "Errors with files": "each file could be read",
    "Failed writes of the state": "the state was always written",
    "Observations folded into `other`": "no metric reached its cap",
    "Values that were not understood, per line": "every value of the samples is understood",
}

CHOSEN = ("cluster", "source", "team", "app", "model", "route")
VARIABLES = {
    "$__rate_interval": "1m", "$__range": "1h", "$input_price": "3.00", "$output_price": "15.00",
    **{f"${name}": ".*" for name in CHOSEN},
}  # fmt: skip

#: Two days that are never both in their first 5 %, in which there is no projection.
CONFIG = """
[[budget]]
name = "daily"
window = "day"
unit = "tokens"
limit = "1000000"

[[budget]]
name = "daily in Tokyo"
window = "day"
timezone = "Asia/Tokyo"
unit = "tokens"
limit = "1000000"

[apps]
"%s" = { name = "Support bot", team = "care" }
"remembered" = { name = "Translator", team = "sales" }
"""

SETTINGS = {"timeseries", "stat", "bargauge", "heatmap", "state-timeline", "table", "row"}


def substituted(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


# --- the JSON ---------------------------------------------------------------------------------------------------


def test_the_json_is_what_the_generator_gives() -> None:
    """`make dashboards` writes it."""
    assert {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.glob("*/*.json")} == rendered()


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_model_knows_every_key(name: str) -> None:
    """What its typed model of a dashboard does not know, it drops."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    kept = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(BOARDS[name])))
    # A key of the Prometheus data source's annotations, which the model leaves open.
    assert list(lost(BOARDS[name], kept)) == ["/annotations/list/0/titleFormat"]


def lost(before: object, after: object, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            yield from lost(before[key], after[key], f"{where}/{key}") if key in after else [f"{where}/{key}"]
    elif isinstance(before, list) and isinstance(after, list):
        assert len(before) == len(after), where
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{where}/{number}")
    elif before != after:
        yield where


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_keeps_the_conventions(name: str) -> None:
    board = BOARDS[name]
    assert board["schemaVersion"] <= 41
    assert board["uid"] == name
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables[:7] == ["datasource", *CHOSEN]
    used = set(re.findall(r"\$(\w+)", json.dumps([panel.get("targets", ()) for panel in board["panels"]])))
    assert used <= {*variables, "__rate_interval", "__range"}
    assert any("runbooks" in link["url"] for link in board["links"])
    assert {panel["type"] for panel in board["panels"]} <= SETTINGS
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"


#: Metrics of the exporter itself, of its process and of Prometheus, which exist wherever the dashboards do.
OWN = re.compile(r"\b(dify_exporter_|source\w*:dify_exporter_|process_|scrape_|up\b|ALERTS)")


@pytest.mark.parametrize("name", BOARDS)
def test_a_panel_that_a_log_must_feed_says_which_one_instead_of_staying_empty(name: str) -> None:
    for panel in BOARDS[name]["panels"]:
        queries = " ".join(target["expr"] for target in panel.get("targets", ()))
        says = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
        assert says.startswith("Nothing in this time range. Needs ") or not queries or OWN.search(queries), panel[
            "title"
        ]


def test_money_and_tokens_of_apps_have_names_and_teams() -> None:
    for panel in BOARDS["dify-tokens"]["panels"]:
        for target in panel.get("targets", ()):
            by_app = re.search(r"by \([^)]*app_id|source_app:dify_(runs|tokens)", target["expr"])
            assert not by_app or "group_left (name, team)" in target["expr"], panel["title"]


def test_links_lead_to_dashboards_and_their_variables() -> None:
    links = [
        link["url"]
        for _, panel in PANELS
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "links"
        for link in each["value"]
    ]
    inside = [link for link in links if not link.startswith("http")]
    assert {link.split("?")[0].removeprefix("/d/") for link in inside} == {
        "dify-latency",
        "dify-overview",
        "dify-tokens",
    }
    assert {re.search(r"var-(\w+)", link)[1] for link in inside} == {"route", "app"}  # type: ignore[index]
    assert any("runbooks/" in link for link in links)


def test_no_two_panels_lie_on_each_other() -> None:
    for name, board in BOARDS.items():
        cells: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            grid = panel["gridPos"]
            own = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
            assert not own & cells, f"{name}: {panel['title']}"
            cells |= own


@pytest.mark.parametrize(("name", "title", "expression"), QUERIES)
def test_a_query_names_only_what_exists(name: str, title: str, expression: str) -> None:
    found = names(substituted(expression))
    known = exposed() | {
        "process_resident_memory_bytes": {"job"}, "process_cpu_seconds_total": {"job"}, "process_open_fds": {"job"},
        "process_max_fds": {"job"}, "scrape_duration_seconds": {"job"}, "scrape_samples_scraped": {"job"},
    }  # fmt: skip
    recorded = {rule.name for rule in rules() if not rule.alerts}
    for selector in found.selectors:
        assert selector.metric in known or selector.metric in recorded, selector.metric
        if selector.metric in known:
            assert {label for label, _, _ in selector.matchers} <= set(known[selector.metric]) | {"__name__", "cluster"}
    windows = re.findall(r"\[(.*?)\]", expression)
    assert set(windows) <= {"$__rate_interval", "$__range", "1d", "1h"}, "rates look back $__rate_interval"


# --- in Prometheus ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with a month of recorded history, and an exporter whose logs grow by the samples."""
    folder = tmp_path_factory.mktemp("dashboards")
    samples = {path.name: now(path.read_text("latin-1")) for path in (ROOT / "samples").glob("*.log")}
    (folder / "samples").mkdir()
    for name in samples:
        (folder / "samples" / name).touch()
    config = (ROOT / "exporter.toml").read_text()
    text = re.sub(r"(?m)^listen = .*$", 'listen = "127.0.0.1:0"', config)
    (folder / "exporter.toml").write_text(text + CONFIG % an_app(samples["dify-worker-telemetry.log"]))
    with ExitStack() as stack:
        process = stack.enter_context(running([COMMAND, "serve"], folder))
        exporter = Exporter(process)
        process.said("first pass done")
        dify = stack.enter_context(served(ThreadingHTTPServer(("127.0.0.1", 0), Pages)))
        probe = {"targets": [f"http://{dify}/health"], "labels": {"module": "dify_health", "dependency": "dify"}}
        targets = {
            "dify-exporter": [exporter.url.removeprefix("http://")],
            "probes": [probe],
            "blackbox": [stack.enter_context(blackbox(folder))],
        }
        lay_out(folder / "prometheus", targets, speed=1, every="3s")
        remember(folder, exporter, f"http://{dify}/health")
        server = stack.enter_context(operators_prometheus(folder / "prometheus"))
        stack.enter_context(growing(folder / "samples", samples))
        yield server


@contextmanager
def growing(folder: Path, samples: Mapping[str, str]) -> Iterator[None]:
    """Write the samples again and again: on a slow machine, samples written once would soon be older than any rate."""
    stopping = threading.Event()

    def write() -> None:
        while not stopping.wait(3):
            for name, lines in samples.items():
                with (folder / name).open("a", encoding="latin-1") as file:
                    file.write(lines)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def now(text: str) -> str:
    """The samples' hour becomes this one: budgets and gauges follow the time of the event."""
    return re.sub(r"2026-11-23T\d\d:\d\d", f"{datetime.now(UTC):%Y-%m-%dT%H:%M}", text)


def an_app(text: str) -> str:
    found = re.search(r'"dify.app_id": ?"([^"]+)"', text)
    assert found is not None
    return found[1]


def remember(folder: Path, exporter: Exporter, dify: str) -> None:
    """A month of what the recording rules would have recorded, so that days and weeks have something to sum."""
    app = 'source="worker-telemetry",app_id="remembered"'
    model = f'{app},provider="openai",model="gpt-4.1"'
    probe = f'dependency="dify",job="dify-probe",instance="{dify}"'
    series = {
        600: {
            f'source_app_model:dify_tokens_used:increase10m{{{model},token_type="input"}}': 200,
            f'source_app_model:dify_cost:increase10m{{{model},currency="USD"}}': 1,
            f"source_app:dify_runs:increase10m{{{app}}}": 2,
        },
        3600: {
            f'source_app_model:dify_tokens_used:increase1h{{{model},token_type="input"}}': 1000,
            f'source_app_model:dify_cost:increase1h{{{model},currency="USD"}}': 2,
            f"instance:probe_success:avg_over_time1h{{{probe}}}": 1,
        },
        60: {
            f"source_app:dify_tokens_used_per_run:ratio_increase1d{{{app}}}": 100,
            'source_currency:dify_cost:increase1d{source="worker-telemetry",currency="USD"}': 20,
        },
    }
    at = int(time.time())
    days = {
        600: range(at - 86400, at),
        3600: range(at - 31 * 86400, at),
        60: range(at - 7 * 86400, at - 7 * 86400 + 600),
    }
    lines = [
        f"{name} {value} {when // step * step}"
        for step, values in series.items()
        for name, value in values.items()
        for when in days[step][::step]
    ]
    lines.sort(key=lambda line: line.partition("{")[0])
    (folder / "history").write_text("\n".join([*lines, "# EOF", ""]))
    command = [find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=720h", "history",
               "prometheus/data"]  # fmt: skip
    (folder / "prometheus/data").mkdir()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_returns_data(live: Prometheus) -> None:
    """One test, for Prometheus is started once. With -s it prints the table of panels, queries and values."""
    deadline = time.monotonic() + 3 * DEADLINE
    answers = ask(live)
    while (missing := [row for row, found in answers if not found]) and time.monotonic() < deadline:
        threading.Event().wait(0.5)
        answers = ask(live)
    print("\n".join(row for row, _ in answers))
    assert not missing, "\n".join(missing)


#: Recording rules that may be empty on samples, and why.
EMPTY_RULES = {
    "source_field:dify_exporter_dropped_values_per_line:ratio_rate15m": "every value of the samples is understood",
    "integration:alertmanager_notification_requests_failed:ratio_increase10m": "no Alertmanager runs here",
    "source_app:dify_tokens_used_per_run_per_last_week:ratio": "no app of the samples ran a week ago",
}


def test_every_recording_rule_returns_data(live: Prometheus) -> None:
    recorded = {rule.name for rule in rules() if not rule.alerts}
    assert set(EMPTY_RULES) <= recorded
    wanted = sorted(recorded - set(EMPTY_RULES))
    deadline = time.monotonic() + 3 * DEADLINE
    while (missing := [name for name in wanted if not live.query(name)]) and time.monotonic() < deadline:
        threading.Event().wait(0.5)
    assert missing == []


def ask(server: Prometheus) -> list[tuple[str, bool]]:
    """Each query as a line of a table, and whether it has data or may have none."""
    answers = []
    for name, panel in PANELS:
        for target in panel["targets"]:
            values = [each["value"][1] for each in server.query(substituted(target["expr"]))]
            numbers = [value for value in values if value != "NaN"]
            answer = f"{len(values)} series, first {numbers[0]}" if numbers else EMPTY.get(panel["title"], "NO DATA")
            answers.append((f"| {name} | {panel['title']} | `{target['expr']}` | {answer} |", answer != "NO DATA"))
    return answers


def test_what_may_be_empty_is_on_a_dashboard() -> None:
    assert set(EMPTY) <= {panel["title"] for _, panel in PANELS}


# --- the importer -----------------------------------------------------------------------------------------------


def test_dashboards_are_imported_by_api(tmp_path: Path) -> None:
    """A server that checks what Grafana's POST /api/dashboards/db demands."""
    got = []

    class Grafana(Pages):
        def do_POST(self) -> None:  # noqa: N802 (the name is http.server's)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == "Bearer token" and self.path == "/api/dashboards/db"
            good = known and body["overwrite"] is True and body["dashboard"]["uid"] and "id" not in body["dashboard"]
            got.append(body["dashboard"]["uid"] if good else None)
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    script = ROOT / "grafana/import.sh"
    with served(ThreadingHTTPServer(("127.0.0.1", 0), Grafana)) as address:
        environment = {"PATH": "/usr/bin:/bin", "GRAFANA_URL": f"http://{address}", "GRAFANA_TOKEN": "token"}
        done = subprocess.run([script], env=environment, capture_output=True, text=True)
        assert (done.returncode, set(got)) == (0, set(BOARDS)), done.stderr
        environment["GRAFANA_TOKEN"] = "wrong"
        refused = subprocess.run([script], env=environment, capture_output=True, text=True)
        assert refused.returncode != 0
    bare = subprocess.run([script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert bare.returncode != 0
    assert "GRAFANA_URL" in bare.stderr
    assert shutil.which("curl")
