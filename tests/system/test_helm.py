"""The chart's objects: what Kubernetes and the Prometheus operator take, and what an operator meets."""

import json
import re
import shlex
import shutil
import subprocess
import textwrap
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.config.loader import load
from tests.manifests import CHART, ROOT, helm, render
from tests.system.chart import ON, SETS, Document, containers, of_kind, rendered, templates, validate
from tests.system.exporter import serving
from tests.system.programs import find, until


@pytest.mark.parametrize("name", SETS)
def test_helm_and_the_schemas_take_the_chart(name: str) -> None:
    linted = helm("lint", "--strict", values=SETS[name])
    assert linted.returncode == 0, linted.stdout
    assert rendered(name)
    for document in rendered(name):
        validate(document)
    names = [(document["kind"], document["metadata"]["name"]) for document in rendered(name)]
    assert len(set(names)) == len(names)


def test_the_schemas_of_the_operator_refuse_a_wrong_key() -> None:
    (monitor,) = of_kind(rendered("operator"), "ServiceMonitor")
    monitor = json.loads(json.dumps(monitor).replace('"interval"', '"intervall"'))
    with pytest.raises(jsonschema.ValidationError):
        validate(monitor)


@pytest.mark.parametrize("name", SETS)
def test_every_container_is_confined_and_only_the_reader_of_the_node_is_root(name: str) -> None:
    root = []
    for template in templates(rendered(name)):
        assert template["spec"]["automountServiceAccountToken"] is False
    for container in containers(rendered(name)):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["limits"]["memory"]
        if security["runAsUser"] == 0:
            root.append(security["capabilities"].get("add"))
        else:
            assert security["runAsNonRoot"]
            assert "add" not in security["capabilities"]
    reads_any = SETS[name].get("nodeLogs", {}).get("readAnyLog", True)
    wanted = [["DAC_READ_SEARCH"] if reads_any else None] if of_kind(rendered(name), "DaemonSet") else []
    assert root == wanted


@pytest.mark.parametrize("name", SETS)
def test_what_an_object_names_is_there(name: str) -> None:
    documents = rendered(name)
    known = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for template in templates(documents):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in known
        mounts = [mount for each in template["spec"]["containers"] for mount in each["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == volumes.keys()


def selected(documents: list[Document], labels: Document) -> list[set[str]]:
    """The names of the ports of each pod that has these labels."""
    return [
        {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        for template in templates(documents)
        if labels.items() <= template["metadata"]["labels"].items()
    ]


@pytest.mark.parametrize("name", SETS)
def test_services_policies_and_budgets_select_one_kind_of_pod_and_ports_that_it_has(name: str) -> None:
    documents = rendered(name)
    for document in of_kind(documents, "Service", "NetworkPolicy", "PodDisruptionBudget"):
        spec = document["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        (ports,) = selected(documents, selector.get("matchLabels", selector))
        wanted = [port["targetPort"] for port in spec.get("ports", ())]
        wanted += [port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]]
        assert set(wanted) <= ports
    if SETS[name].get("networkPolicy"):
        assert len(of_kind(documents, "NetworkPolicy")) == len(templates(documents))


@pytest.mark.parametrize("name", SETS)
def test_a_budget_for_disruptions_never_blocks_a_drain(name: str) -> None:
    several = [each for each in of_kind(rendered(name), "Deployment") if each["spec"]["replicas"] > 1]
    budgets = of_kind(rendered(name), "PodDisruptionBudget")
    assert [each["metadata"]["name"] for each in budgets] == [each["metadata"]["name"] for each in several]
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets)


@pytest.mark.parametrize("name", SETS)
def test_every_exporter_is_scraped_once_as_the_job_of_the_rules(name: str) -> None:
    documents = rendered(name)
    exporters = [each for each in templates(documents) if "metrics" in {
        port["name"] for container in each["spec"]["containers"] for port in container["ports"]
    }]  # fmt: skip
    if not SETS[name].get("operator"):
        assert not of_kind(documents, "ServiceMonitor", "PodMonitor", "PrometheusRule", "Probe")
        return
    found = []
    for monitor in of_kind(documents, "ServiceMonitor", "PodMonitor"):
        assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
        labels = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert {"targetLabel": "job", "replacement": "dify-exporter"} in endpoint["relabelings"]
        if monitor["kind"] == "ServiceMonitor":
            (service,) = [
                each for each in of_kind(documents, "Service") if labels.items() <= each["metadata"]["labels"].items()
            ]
            assert [port["name"] for port in service["spec"]["ports"]] == [endpoint["port"]]
            assert {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "instance"} in endpoint[
                "relabelings"
            ]
        found += selected(documents, labels)
    assert len(found) == len(exporters)


def configurations(name: str) -> list[tuple[str, str]]:
    maps = of_kind(rendered(name), "ConfigMap")
    return [
        (each["metadata"]["name"], each["data"]["exporter.toml"]) for each in maps if "exporter.toml" in each["data"]
    ]


@pytest.mark.parametrize("name", SETS)
def test_the_configurations_load(name: str, tmp_path: Path) -> None:
    for _, text in configurations(name):
        (tmp_path / "exporter.toml").write_text(text)
        config = load(tmp_path / "exporter.toml")
        assert config.exporter.state == "/var/lib/dify-exporter/state"
        assert config.sources
        assert ("budget" in tomllib.loads(text)) == ("extraConfig" in SETS[name])


def test_a_new_pod_on_the_node_is_read_and_a_node_without_one_is_no_fault(tmp_path: Path) -> None:
    """The default configuration, with another folder for the kubelet's logs."""
    ((_, text),) = configurations("defaults")
    sources = text.partition("\n\n")[2].replace("/var/log/pods", f"{tmp_path}/pods")
    with serving(tmp_path, sources) as exporter:
        assert exporter.get("/-/ready")
        assert exporter.value("dify_exporter_lines_total") == 0
        folder = tmp_path / "pods/dify_dify-worker-7c9d5b6f4-x2x4z_0b6b1c9e/worker"
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "samples/cri-worker.log", folder / "0.log")
        until("the tasks", lambda: exporter.value("dify_tasks_total", source="worker") > 0)
        assert exporter.value("dify_exporter_lines_total", source="api") == 0


def test_the_log_that_is_written_is_the_log_that_is_read() -> None:
    tables = {name: tomllib.loads(text) for name, text in configurations("everything")}
    for name, program in (("receiver", "receive"), ("proxy", "proxy")):
        table = tables[f"dify-exporter-{name}"]
        assert table["source"][0]["paths"] == [table[program]["log"]]
    assert tables["dify-exporter-receiver"]["receive"]["token_file"] == "/etc/dify-exporter-token/token"
    assert tables["dify-exporter-receiver"]["receive"]["native"] is True


# --- what an operator meets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "sentence"), [
    ({"image": {"repository": ""}}, "image.repository is empty. Build the image"),
    ({"nodelogs": ON}, "additional properties 'nodelogs' not allowed"),
    ({"proxy": {"replicas": 0}}, "at '/proxy/replicas': minimum"),
    ({"links": {"dashboards": "grafana"}}, "at '/links/dashboards'"),
    ({"fullnameOverride": "Dify"}, "at '/fullnameOverride'"),
    ({"nodeLogs": {"statePath": "/var/../x"}}, "at '/nodeLogs/statePath'"),
    ({"nodeLogs": {"nodeSelector": {"disk": "a b"}}}, "at '/nodeLogs/nodeSelector/disk'"),
    ({"logReader": {"resources": {"limits": {"memory": "256MB"}}}}, "at '/logReader/resources/limits/memory'"),
    ({"receiver": {"tokenSecret": "My_Secret"}}, "at '/receiver/tokenSecret'"),
    ({"receiver": {"persistence": {"size": "2K"}}}, "at '/receiver/persistence/size'"),
    ({"operator": {"labels": {"release": "a b"}}}, "at '/operator/labels/release'"),
    ({"dashboards": {"label": "a b"}}, "at '/dashboards/label'"),
    (
        {"operator": ON, "probes": {**ON, "targets": [{"url": "http://a", "module": "m", "dependency": "d"}] * 2}},
        'two targets with the dependency "d"',
    ),
])  # fmt: skip
def test_a_wrong_value_is_refused_with_a_sentence(values: Document, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        render(values)


def test_every_value_is_described_and_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load(text)) == schema["properties"].keys() - {"global"}
    for key in re.findall(r"(?m)^(\w+):", text):
        assert re.search(rf"(?m)^#.*\n{key}:|^{key}:.*(#|\n  #)|^imagePull", text), f"{key} has no comment"


@pytest.mark.parametrize("name", SETS)
def test_the_notes_name_three_commands_for_what_runs(name: str) -> None:
    done = helm("install", "dify-exporter", "--dry-run=client", "--namespace", "dify-monitoring", values=SETS[name])
    notes = done.stdout.partition("\nNOTES:\n")[2]
    running = {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for each in of_kind(rendered(name), "DaemonSet", "Deployment")
    }
    named = set(re.findall(r"(?:daemonset|deployment)/\S+", notes))
    assert named <= running
    assert (len(re.findall(r"(?m)^\d\. ", notes)) == 3) == bool(running)
    assert ("Prometheus does not scrape it yet" in notes) == (not SETS[name].get("operator"))


def commands(page: str) -> list[str]:
    blocks = re.findall(r"(?s)```console\n(.*?)```", page)
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip().startswith("$ ")]


def test_the_guide_is_right_by_the_letter(tmp_path: Path) -> None:
    """Each helm command of docs/kubernetes.md renders objects; each values.yaml is taken; what kubectl names is there."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    for number, block in enumerate(re.findall(r"(?s)```yaml\n *# values.yaml\n(.*?)```", page)):
        (tmp_path / f"{number}.yaml").write_text(textwrap.dedent(block))
        assert list(yaml.safe_load_all(render(yaml.safe_load(textwrap.dedent(block)))))
    named = set()
    for command in commands(page):
        words = shlex.split(command.partition(" > ")[0].replace("$IMAGE", "registry.example.com/dify-exporter"))
        if words[:2] in (["helm", "install"], ["helm", "upgrade"], ["helm", "template"]):
            flags = [word for word in words[2:] if word not in {"--install", "--reuse-values", "dify-exporter"}]
            flags = [word.replace("values.yaml", f"{tmp_path}/1.yaml") for word in flags]
            done = subprocess.run(
                [find("helm"), "template", "dify-exporter", "--kube-version", "1.31.0", "--set", "image.repository=x", *flags],
                cwd=ROOT, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert list(yaml.safe_load_all(done.stdout))
        named |= set(re.findall(r"(?<![\w/])(daemonset)/([\w-]+)", command))
    ours = {(each["kind"].lower(), each["metadata"]["name"]) for each in rendered("defaults")}
    assert named
    assert named <= ours
    for service, port in re.findall(r"http://(dify-exporter-\w+)\.dify-monitoring:(\d+)", page):
        services = {
            each["metadata"]["name"]: each["spec"]["ports"][0]["port"]
            for each in of_kind(rendered("everything"), "Service")
        }
        assert services[service] == int(port)
