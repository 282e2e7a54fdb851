"""rules/ against the catalogue, against themselves and against Debian's promtool."""

import re
import subprocess

import pytest

from tests.promql import names
from tests.rules import FILES, ROOT, Rule, exposed, rules
from tests.system.programs import find

RULES = rules()
RECORDED = {rule.name for rule in RULES if not rule.alerts}

#: Labels that rules make themselves.
MADE = {"class", "judged_by"}


def ids(rule: Rule) -> str:
    return rule.name


@pytest.mark.system
def test_promtool_accepts_the_rules() -> None:
    told = subprocess.run([find("promtool"), "check", "rules", *map(str, FILES)], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_a_rule_names_only_what_exists(rule: Rule) -> None:
    found, known = names(rule.expression), exposed()
    every_label = frozenset().union(*known.values()) | MADE
    for selector in found.selectors:
        labels = known.get(selector.metric, every_label if selector.metric in RECORDED else None)
        assert labels is not None, f"{selector.metric} is neither in the catalogue nor recorded"
        assert {label for label, _, _ in selector.matchers} - labels <= {"__name__"}, selector.metric
    assert found.grouping <= every_label


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.alerts], ids=ids)
def test_a_recording_rule_is_named_level_metric_operations(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule.name)
    assert "_total:" not in rule.name


def test_recording_rules_aggregate_without_instance() -> None:
    """Several exporters are one sum; probes are judged one by one."""
    for rule in RULES:
        if not rule.alerts and rule.group.startswith("dify-") and "dify_" in rule.expression:
            raw = {s.metric for s in names(rule.expression).selectors} & exposed().keys()
            grouping = names(rule.expression).grouping
            assert not raw or {"instance", "pod"} <= grouping or rule.name == "route:dify_route_info:max", rule.name


def test_le_is_written_as_prometheus_3_writes_it() -> None:
    for path in (ROOT / "rules").rglob("*.yml"):
        assert not re.search(r'\ble="\d+"', path.read_text()), path.name
