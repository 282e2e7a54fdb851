"""The chart's rules, probes and dashboards, and what of deploy/kubernetes comes from the chart."""

import json
from pathlib import Path

import pytest
import yaml

from tests.manifests import GENERATED, KUSTOMIZE, ROOT, generate, render
from tests.promql import names
from tests.rules import rules
from tests.system.chart import ON, Document, of_kind, rendered, validate
from tests.system.programs import find
from tests.system.test_deploy import output_of

# --- rules, probes, dashboards ----------------------------------------------------------------------------------

PROBED = {"DifyServiceDown", "DifyDependencyDown", "DifyCertificateExpiring"}


def test_the_alerts_that_are_left_out_are_those_that_need_a_probe() -> None:
    need = {
        rule.name
        for rule in rules()
        if rule.alerts
        and all(each.metric.startswith(("probe_", "dify:threshold:")) for each in names(rule.expression).selectors)
    }
    assert need - {"Watchdog"} == PROBED


def groups(documents: list[Document]) -> list[Document]:
    return [group for document in of_kind(documents, "PrometheusRule") for group in document["spec"]["groups"]]


def alerts(documents: list[Document]) -> set[str]:
    return {rule["alert"] for group in groups(documents) for rule in group["rules"] if "alert" in rule}


def test_the_rules_are_those_of_the_repository_and_without_probes_no_alert_waits_for_one(tmp_path: Path) -> None:
    every = {rule.name for rule in rules() if rule.alerts}
    assert alerts(rendered("probes")) == every
    assert alerts(rendered("operator")) == every - PROBED
    files = [yaml.safe_load((ROOT / f"rules/{path.name}").read_text()) for path in (ROOT / "rules").glob("*.yml")]
    ours = {group["name"]: group for file in files for group in file["groups"]}
    chart = {group["name"]: group for group in groups(rendered("probes"))}
    assert chart == ours
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": list(chart.values())}))
    output_of(find("promtool"), "check", "rules", tmp_path / "rules.yml")


def test_alerts_thresholds_labels_and_links_can_be_changed() -> None:
    values = {
        "operator": ON,
        "rules": {"disable": ["Watchdog"], "thresholds": {"failure_ratio": 0.2}, "labels": {"cluster": "east"}},
        "links": {"dashboards": "https://grafana.example.com/sub/", "runbooks": "https://wiki.example.com/dify"},
    }
    documents = list(yaml.safe_load_all(render(values, templates=["rules"])))
    assert alerts(documents) == {rule.name for rule in rules() if rule.alerts} - PROBED - {"Watchdog"}
    found = [rule for group in groups(documents) for rule in group["rules"]]
    assert [rule["expr"] for rule in found if rule.get("record") == "dify:threshold:failure_ratio"] == ["vector(0.2)"]
    for rule in found:
        if "alert" in rule:
            assert rule["labels"]["cluster"] == "east"
            assert rule["annotations"]["dashboard_url"].startswith("https://grafana.example.com/sub/d/dify-")
            assert rule["annotations"]["runbook_url"] == f"https://wiki.example.com/dify/{rule['alert']}.md"


def test_probes_have_a_module_of_the_configuration_and_the_job_of_the_rules() -> None:
    documents = rendered("probes")
    (config,) = [
        each["data"]["blackbox.yml"] for each in of_kind(documents, "ConfigMap") if "blackbox.yml" in each["data"]
    ]
    assert config.strip() == (ROOT / "deploy/blackbox.yml").read_text().strip()
    probes = of_kind(documents, "Probe")
    assert {probe["spec"]["module"] for probe in probes} <= yaml.safe_load(config)["modules"].keys()
    assert {probe["spec"]["jobName"] for probe in probes} == {"dify-probe"}
    (service,) = [each for each in of_kind(documents, "Service") if each["metadata"]["name"].endswith("-blackbox")]
    (port,) = service["spec"]["ports"]
    address = f"{service['metadata']['name']}.dify-monitoring:{port['port']}"
    assert {probe["spec"]["prober"]["url"] for probe in probes} == {address}


def test_the_dashboards_are_those_of_the_repository() -> None:
    maps = of_kind(rendered("dashboards"), "ConfigMap")
    found = {
        name: text
        for each in maps
        if each["metadata"]["labels"].get("grafana_dashboard")
        for name, text in each["data"].items()
    }
    files = {path.name: path.read_text() for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in found.items()} == {
        name: json.loads(text) for name, text in files.items()
    }
    assert all(len(text) < 2**20 for text in found.values()), "a ConfigMap holds less than 1 MiB"


# --- deploy/kubernetes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_the_manifests_come_from_the_chart(name: str) -> None:
    assert (KUSTOMIZE / name).read_text() == generate(name), "run `make manifests`"


BASE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: dify-api, labels: {component: api}}
spec:
  selector: {matchLabels: {component: api}}
  template:
    metadata: {labels: {component: api}}
    spec:
      containers:
        - {name: api, image: dify, env: [{name: MODE, value: api}], volumeMounts: [{name: storage, mountPath: /app/storage}]}
      volumes: [{name: storage, emptyDir: {}}]
"""


def build(folder: Path) -> list[Document]:
    return list(yaml.safe_load_all(output_of(find("kubectl"), "kustomize", folder)))


@pytest.mark.parametrize("folder", ["daemonset", "receiver", "proxy"])
def test_kubectl_builds_the_manifests(folder: str) -> None:
    documents = build(KUSTOMIZE / folder)
    assert of_kind(documents, "DaemonSet", "Deployment")
    for document in documents:
        validate(document)


def test_the_sidecar_joins_difys_api(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(BASE)
    (tmp_path / "sidecar").symlink_to(KUSTOMIZE / "sidecar")
    (tmp_path / "kustomization.yaml").write_text("resources: [api.yaml]\ncomponents: [sidecar]\n")
    documents = build(tmp_path)
    for document in documents:
        validate(document)
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["metadata"]["name"] == "dify-api"
    spec = deployment["spec"]["template"]["spec"]
    assert {each["name"]: each["image"] for each in spec["containers"]} == {
        "api": "dify",
        "dify-exporter": "dify-exporter:0.1.0",
    }
    shared = [mount for each in spec["containers"] for mount in each["volumeMounts"] if mount["name"] == "dify-logs"]
    assert [mount.get("readOnly", False) for mount in shared] == [False, True]
    (config,) = of_kind(documents, "ConfigMap")
    assert {"name": "dify-exporter-config", "configMap": {"name": config["metadata"]["name"]}} in spec["volumes"]
    monitor = yaml.safe_load((KUSTOMIZE / "sidecar/podmonitor.yaml").read_text())
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_removal_takes_away_what_the_patch_adds(tmp_path: Path) -> None:
    sidecar = {"enabled": True, "deployment": "dify-worker", "container": "worker"}
    base = BASE.replace("dify-api", "dify-worker").replace("{name: api", "{name: worker")
    for each in ("patch", "removal"):
        (tmp_path / each).write_text(render({"sidecar": {**sidecar, each: True}}, templates=["sidecar-patch"]))

    def patched(manifest: str, patch: str) -> str:
        (tmp_path / "deployment.yaml").write_text(manifest)
        flags = [
            "--local",
            "--output",
            "yaml",
            "--filename",
            tmp_path / "deployment.yaml",
            "--patch-file",
            tmp_path / patch,
        ]
        return output_of(find("kubectl"), "patch", *flags)

    with_sidecar = patched(base, "patch")
    assert len(yaml.safe_load(with_sidecar)["spec"]["template"]["spec"]["containers"]) == 2
    left = yaml.safe_load(patched(with_sidecar, "removal"))["spec"]["template"]
    wanted = yaml.safe_load(base)["spec"]["template"]
    wanted["spec"]["securityContext"] = {"fsGroup": 1001}
    wanted["spec"]["containers"][0]["env"].insert(0, {"name": "ENABLE_REQUEST_LOGGING", "value": "true"})
    assert (left["spec"], left["metadata"]["labels"]) == (wanted["spec"], wanted["metadata"]["labels"])
