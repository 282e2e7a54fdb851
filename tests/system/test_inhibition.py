"""One incident pages once: a real Alertmanager with deploy/alertmanager.yml says which of the firing alerts it suppresses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.rules import rules
from tests.system.programs import find, running, until
from tests.system.stack import DEPLOY, listening

DOWN = {"alertname": "DifyServiceDown"}
POSTGRESQL = {"alertname": "DifyDependencyDown", "dependency": "postgresql"}
ERRORS = {"alertname": "DifyHighErrorRate", "source": "nginx", "severity": "critical"}
BURN = {"alertname": "DifyErrorBudgetBurn", "source": "api", "severity": "critical", "long_window": "1h"}
FEW_ERRORS = ERRORS | {"severity": "warning"}
TICKET = BURN | {"severity": "warning", "long_window": "3d"}
LIMITED = {"alertname": "DifyRateLimiting", "source": "nginx"}
LIMITED_BY_PROVIDER = LIMITED | {"limited_by": "provider"}
LATENCY = {"alertname": "DifyHighLatency", "source": "nginx", "area": "service_api"}
PROVIDER = {"alertname": "DifyProviderFailures", "source": "worker"}
SILENT = {"alertname": "DifyExporterSourceSilent", "source": "api", "fault": "silent"}
BUDGET = {"alertname": "DifyTokenBudgetWarning", "budget": "monthly"}
EXPORTER = {"alertname": "DifyExporterDown", "instance": "a:9877"}
CHANGED = {"alertname": "DifyExporterFormatChanged", "source": "nginx"}
UNPARSED = {"alertname": "DifyExporterNotParsing", "source": "nginx"}

#: What fires, and what of it is suppressed.
INCIDENTS: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {
    "an outage of Dify": (
        [DOWN, POSTGRESQL, ERRORS, FEW_ERRORS, BURN, TICKET, LIMITED, LATENCY, PROVIDER, SILENT, BUDGET, EXPORTER],
        [POSTGRESQL, ERRORS, FEW_ERRORS, BURN, TICKET, LIMITED, LATENCY, PROVIDER, SILENT],
    ),
    "an outage of a dependency": (
        [POSTGRESQL, ERRORS, FEW_ERRORS, BURN, LATENCY],
        [ERRORS, FEW_ERRORS, BURN, LATENCY],
    ),
    "errors": (
        [ERRORS, FEW_ERRORS, BURN, TICKET, LIMITED, LATENCY, LIMITED_BY_PROVIDER, PROVIDER, SILENT],
        [FEW_ERRORS, BURN, TICKET, LIMITED, LATENCY],
    ),
    "a slow burn": ([BURN, TICKET, LATENCY, PROVIDER], [TICKET, LATENCY]),
    "errors of one app": ([FEW_ERRORS, TICKET, LATENCY, PROVIDER], []),
    "a front end that is down": ([POSTGRESQL | {"dependency": "web"}, ERRORS], []),
    "a changed format": ([CHANGED, UNPARSED, UNPARSED | {"source": "api"}], [UNPARSED]),
    "another cluster": ([DOWN, ERRORS | {"cluster": "other"}], []),
}  # fmt: skip


def complete(alert: dict[str, str]) -> dict[str, str]:
    """The labels that Prometheus sends: those of the rule, and the cluster."""
    rule = next(rule for rule in rules() if rule.name == alert["alertname"])
    given = {name: value for name, value in rule.table["labels"].items() if "{{" not in value and name != "long_window"}
    return {"cluster": "dify", **given, **alert}


class Alertmanager:
    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v2/alerts"

    def post(self, alerts: list[dict[str, str]]) -> None:
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        urlopen(Request(self._url, body, {"Content-Type": "application/json"}), timeout=10).close()

    def suppressed(self) -> dict[frozenset[tuple[str, str]], bool]:
        with urlopen(self._url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return {frozenset(each["labels"].items()): bool(each["status"]["inhibitedBy"]) for each in found}


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    config = {
        "route": {"receiver": "nobody"},
        "receivers": [{"name": "nobody"}],
        "inhibit_rules": config["inhibit_rules"],
    }
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    command = [
        find("prometheus-alertmanager"), "--config.file=alertmanager.yml", "--storage.path=data",
        "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, tmp_path) as process:
        yield Alertmanager(listening(process))


def test_a_consequence_is_suppressed_while_its_cause_fires(alertmanager: Alertmanager) -> None:
    """One Alertmanager serves all incidents, each in a cluster of its own."""
    wanted = {}
    for number, (firing, suppressed) in enumerate(INCIDENTS.values()):
        for alert in firing:
            labels = complete(alert)
            labels["cluster"] += str(number)
            wanted[frozenset(labels.items())] = alert in suppressed
    alertmanager.post([dict(labels) for labels in wanted])
    until("the incidents", lambda: alertmanager.suppressed() == wanted, 20)


def test_every_alert_of_an_inhibition_is_in_the_rules() -> None:
    known = {rule.name for rule in rules() if rule.alerts}
    text = json.dumps(yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())["inhibit_rules"])
    for prefix, names in re.findall(r"Dify(\w*)\(([\w|]+)\)", text):
        assert {f"Dify{prefix}{name}" for name in names.split("|")} <= known
    assert set(re.findall(r'= \\"(Dify\w+)\\"', text)) <= known
