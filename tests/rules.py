"""The rule files as data, and what their expressions may name."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from exporter.catalogue import METRICS

ROOT = Path(__file__).parents[1]
FILES = tuple(sorted((ROOT / "rules").glob("*.yml")))
TESTS = tuple(sorted((ROOT / "rules/tests").glob("*.yml")))

#: Metrics that other programs expose, with their labels: Prometheus itself, blackbox_exporter and Alertmanager.
FOREIGN: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "probe_success": frozenset({"dependency"}),
    "probe_ssl_earliest_cert_expiry": frozenset({"dependency"}),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "team", "channel", "fault"}),
    "alertmanager_notification_requests_total": frozenset({"integration"}),
    "alertmanager_notification_requests_failed_total": frozenset({"integration"}),
}

#: Labels that Prometheus attaches to whatever it scrapes.
TARGET_LABELS = frozenset({"job", "instance", "pod"})


class Rule(Struct, frozen=True):
    """One recording or alerting rule; `name` is what it records or the alert's."""

    file: str
    group: str
    name: str
    expression: str
    table: dict[str, Any]

    @property
    def alerts(self) -> bool:
        return "alert" in self.table


@cache
def rules() -> tuple[Rule, ...]:
    return tuple(
        Rule(path.name, group["name"], rule.get("record") or rule["alert"], rule["expr"], rule)
        for path in FILES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    )


class Case(Struct, frozen=True):
    """One unit test of one alert: whether it fires, at each time that the test looks, in their order."""

    alert: str
    test: str
    fired: tuple[bool, ...]


@cache
def cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            fired: dict[str, list[bool]] = {}
            for look in test.get("alert_rule_test", ()):
                fired.setdefault(look["alertname"], []).append(bool(look["exp_alerts"]))
            found += [Case(alert, test["name"], tuple(each)) for alert, each in fired.items()]
    return tuple(found)


def exposed() -> dict[str, frozenset[str]]:
    """Every series that Prometheus may hold before any rule, with its labels."""
    found = dict(FOREIGN)
    for metric in METRICS:
        labels = frozenset(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{metric.name}_bucket": labels | {"le"}}
            found |= {f"{metric.name}_{part}": labels for part in ("sum", "count")}
        else:
            found[metric.name] = labels
    return {name: labels | TARGET_LABELS for name, labels in found.items()}


if __name__ == "__main__":  # a table of alerts and their unit tests
    for case in sorted(cases(), key=lambda case: case.alert):
        print(f"| {case.alert} | {case.test} | {' '.join('fires' if fired else '-' for fired in case.fired)} |")
