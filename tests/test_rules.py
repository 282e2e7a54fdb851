"""rules/ against the catalogue, against themselves and against Debian's promtool."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.catalogue import METRICS
from tests.promql import names
from tests.rules import FILES, ROOT, TESTS, cases, exposed, rules
from tests.system.programs import find

RULES = rules()
RECORDED = {rule.name for rule in RULES if not rule.alerts}

UIDS = {json.loads(path.read_text())["uid"] for path in (ROOT / "grafana/dashboards").glob("*.json")}

#: Labels that rules make themselves.
MADE = {"class", "judged_by", "week"}


@pytest.mark.system
def test_promtool_accepts_the_rules() -> None:
    result = subprocess.run([find("promtool"), "check", "rules", *map(str, FILES)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_name_only_what_exists() -> None:
    known = exposed()
    every_label = frozenset().union(*known.values()) | MADE
    for rule in RULES:
        found = names(rule.expression)
        for selector in found.selectors:
            labels = known.get(selector.metric, every_label if selector.metric in RECORDED else None)
            assert labels is not None, f"{rule.name}: {selector.metric} is neither in the catalogue nor recorded"
            assert {label for label, _, _ in selector.matchers} - labels <= {"__name__"}, (rule.name, selector.metric)
        assert found.grouping <= every_label, rule.name


def test_recording_rules_are_named_level_metric_operations() -> None:
    assert RECORDED
    wrong = [n for n in RECORDED if not re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", n) or "_total:" in n]
    assert wrong == []


def test_recording_rules_aggregate_without_instance() -> None:
    """Several exporters are one sum; probes are judged one by one."""
    for rule in RULES:
        if not rule.alerts and rule.group.startswith("dify-") and "dify_" in rule.expression:
            raw = {s.metric for s in names(rule.expression).selectors} & exposed().keys()
            grouping = names(rule.expression).grouping
            assert not raw or {"instance", "pod"} <= grouping or rule.group == "dify-information", rule.name


def test_le_is_written_as_prometheus_3_writes_it() -> None:
    for path in (ROOT / "rules").rglob("*.yml"):
        assert not re.search(r'\ble="\d+"', path.read_text()), path.name


ALERTS = [rule for rule in RULES if rule.alerts]


def test_no_rule_looks_at_a_counter_but_through_its_change() -> None:
    counters = {metric.name for metric in METRICS if metric.kind == "counter"}
    counters |= {name for name, labels in exposed().items() if "le" in labels}
    selectors = [(rule.name, each) for rule in RULES for each in names(rule.expression).selectors]
    assert [(name, each.metric) for name, each in selectors if each.metric in counters and not each.ranged] == []


def test_an_alert_says_who_what_and_where() -> None:
    for rule in ALERTS:
        labels, annotations = rule.table.get("labels", {}), rule.table["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}, rule.name
        assert annotations["runbook_url"].endswith(f"/docs/runbooks/{rule.name}.md")
        assert annotations["dashboard_url"].rpartition("/d/")[2] in UIDS, rule.name
        if rule.file == "alerts.yml":
            assert labels["severity"] in {"critical", "warning", "none"}, rule.name
            assert labels["team"], rule.name
            assert "{{" not in annotations["summary"], rule.name
            assert annotations["summary"].endswith("."), rule.name


def test_an_alert_on_lines_that_may_be_history_keeps_quiet_while_catching_up() -> None:
    for rule in ALERTS:
        quiet = "source:dify_exporter_catching_up:max_over_time15m" in rule.expression
        assert quiet == bool(re.search(r"\bdify_(?!exporter|budget|app)\w+", rule.expression)), rule.name


def test_every_threshold_is_used() -> None:
    used = {s.metric for rule in ALERTS for s in names(rule.expression).selectors}
    assert [name for name in RECORDED if name.startswith("dify:threshold:") and name not in used] == []


def test_the_shipped_prometheus_loads_every_file() -> None:
    """Without its thresholds an alert compares with nothing, and never fires."""
    loaded = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["rule_files"]
    assert set(loaded) == {f"rules/{path.name}" for path in FILES}


def test_prometheus_2_42_knows_every_key() -> None:
    for rule in RULES:
        assert rule.table.keys() <= {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}


def only_needed(path: Path, folder: Path) -> Path:
    """Copy a file of unit tests, with those rules that its tests need: promtool evaluates all rules every minute of days.

    A test needs the alerts and recorded series that it names, and the recorded series whose names occur in their rules.
    """
    document = yaml.safe_load(path.read_text())
    files = {name: yaml.safe_load((path.parent / name).read_text()) for name in document["rule_files"]}
    rules_by_name: dict[str, str] = {}
    for rule in [rule for file in files.values() for group in file["groups"] for rule in group["rules"]]:
        name = rule.get("alert") or rule["record"]
        rules_by_name[name] = rules_by_name.get(name, "") + yaml.safe_dump(rule, width=10**6)
    needed, texts = set[str](), [yaml.safe_dump(document["tests"], width=10**6)]
    while texts:
        text = texts.pop()
        found = {name for name in rules_by_name.keys() - needed if name in text}
        needed |= found
        texts += [rules_by_name[name] for name in found]
    for name, file in files.items():
        for group in file["groups"]:
            group["rules"] = [rule for rule in group["rules"] if (rule.get("alert") or rule["record"]) in needed]
        (folder / Path(name).name).write_text(yaml.safe_dump(file))
    document["rule_files"] = [Path(name).name for name in files]
    (folder / "tests.yml").write_text(yaml.safe_dump(document))
    return folder / "tests.yml"


@pytest.mark.system
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_unit_tests(path: Path, tmp_path: Path) -> None:
    needed = only_needed(path, tmp_path)
    result = subprocess.run([find("promtool"), "test", "rules", str(needed)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested_to_fire_to_rest_to_resolve_and_in_an_awkward_case() -> None:
    for alert in sorted({rule.name for rule in ALERTS}):
        tested = [case for case in cases() if case.alert == alert]
        assert any("awkward: " in case.test for case in tested), f'no test "{alert}, awkward: …" in rules/tests'
        assert any(any(case.fired) for case in tested), f"no test in which {alert} fires"
        if alert != "Watchdog":
            assert any(not any(case.fired) for case in tested), f"no test in which {alert} keeps quiet"
            assert any(any(case.fired) and not case.fired[-1] for case in tested), f"no test in which {alert} resolves"
