"""The chart and the kustomizations in a real Kubernetes API server with the operator's resource definitions.

`make test-kubernetes` builds etcd, kube-apiserver and kube-controller-manager, and runs these tests.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.manifests import CHART, KUSTOMIZE, ROOT, render
from tests.system.chart import SETS
from tests.system.control_plane import Cluster, control_plane
from tests.system.programs import until
from tests.system.test_helm_monitoring import BASE

PROGRAMS = Path(os.environ["KUBERNETES"])
pytestmark = pytest.mark.system

NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {generateName: test-}}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with control_plane(PROGRAMS, tmp_path_factory.mktemp("cluster")) as started:
        started.kubectl("create", "--filename", PROGRAMS / "crds")
        started.add_node("one")
        started.kubectl("create", "namespace", "dify")
        started.kubectl("create", "priorityclass", "high", "--value=1000")
        yield started


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    created = cluster.kubectl("create", "--filename", "-", "--output", "name", given=NAMESPACE)
    return created.strip().removeprefix("namespace/")


@pytest.mark.parametrize("name", SETS)
def test_the_api_server_takes_every_object_without_a_warning(cluster: Cluster, namespace: str, name: str) -> None:
    said = cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--filename", "-", given=render(SETS[name], namespace)
    )
    assert not warnings(said)


def install(cluster: Cluster, namespace: str, name: str, *words: str, image: str = "dify-exporter") -> str:
    values = yaml.safe_dump({"image": {"repository": image}, "dify": {"namespace": namespace}, **SETS[name]})
    command = ["helm", *words, "dify-exporter", str(CHART), "--namespace", namespace, "--values", "-"]
    return cluster.run(command, values)


def warnings(said: str) -> list[str]:
    """What the API server or helm warns of, but what Kubernetes 1.34.1 says of every headless Service (its issue 134040)."""
    said = said.replace("Warning: spec.SessionAffinity is ignored for headless services", "")
    return re.findall(r"Warning:.*|WARN.*|unknown field.*|deprecated.*", said)


@pytest.mark.parametrize("name", SETS)
def test_helm_installs_upgrades_and_removes_it(cluster: Cluster, namespace: str, name: str) -> None:
    assert not warnings(install(cluster, namespace, name, "install"))
    assert not warnings(install(cluster, namespace, "defaults", "upgrade"))
    assert not warnings(install(cluster, namespace, name, "upgrade", image="other"))
    cluster.run(["helm", "uninstall", "dify-exporter", "--namespace", namespace])
    left = cluster.objects(
        "all,configmaps,pvc,networkpolicies,poddisruptionbudgets,servicemonitors,podmonitors,probes,prometheusrules",
        "--namespace", namespace, "--selector", "app.kubernetes.io/managed-by=Helm",
    )  # fmt: skip
    kept = {each["metadata"]["name"] for each in left if each["kind"] != "PersistentVolumeClaim"}
    assert kept == ({"dify-exporter-sidecar"} if "sidecar" in SETS[name] else set())


def test_everything_but_the_reader_of_the_node_runs_in_a_restricted_namespace(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    said = install(cluster, namespace, "everything", "install")
    (refused,) = warnings(said)
    assert "hostPath" in refused
    until("pods", lambda: len(cluster.objects("pods", "--namespace", namespace)) == 4)  # receiver, 2 proxies, blackbox
    failed = {
        each["involvedObject"]["kind"]
        for each in cluster.objects("events", "--namespace", namespace)
        if each["reason"] == "FailedCreate"
    }
    assert failed == {"DaemonSet"}


def test_every_rollout_ends_and_a_drain_takes_one_proxy_at_a_time(cluster: Cluster, namespace: str) -> None:
    install(cluster, namespace, "everything", "install")
    until("pods", lambda: cluster.play_kubelet(namespace, "one") == 5)  # node, receiver, 2 proxies, blackbox
    for workload in cluster.objects("daemonsets,deployments", "--namespace", namespace):
        place = f"{workload['kind']}/{workload['metadata']['name']}"
        cluster.kubectl("rollout", "status", place, "--timeout=30s", "--namespace", namespace)
    budget = ["get", "poddisruptionbudget", "dify-exporter-proxy", "--namespace", namespace, "--output"]
    until("the budget", lambda: cluster.kubectl(*budget, "jsonpath={.status.disruptionsAllowed}") == "1")

    def evict(pod: str) -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        cluster.kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))

    pods = [pod["metadata"]["name"] for pod in cluster.objects("pods", "--namespace", namespace)]
    last = next(pod for pod in pods if "proxy" in pod)
    for pod in {*pods} - {last}:
        evict(pod)
    with pytest.raises(ValueError, match="disruption budget"):
        evict(last)


#: What needs an engine, an editor, or a running container; and the way without Helm, which has a test of its own.
ELSEWHERE = ("docker", "$EDITOR", "port-forward", "curl", "dify-monitoring exec", "apply --kustomize")


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's blocks in its order: the kind, and the text without indentation."""
    found = re.findall(r"(?ms)^( *)```(\w+)\n(.*?)^ *```", page)
    return [
        (kind, "".join(line.removeprefix(indent) for line in text.splitlines(True))) for indent, kind, text in found
    ]


def test_the_guide_by_the_letter(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "api.yaml").write_text(BASE)
    cluster.kubectl("create", "namespace", "monitoring")
    cluster.kubectl("create", "--namespace", "dify", "--filename", tmp_path / "api.yaml")
    ran, said = 0, ""
    for kind, text in blocks((ROOT / "docs/kubernetes.md").read_text()):
        if kind == "yaml" and text.startswith("# values.yaml"):
            (tmp_path / "values.yaml").write_text(text)
        for line in text.splitlines() if kind == "console" else ():
            command = line.removeprefix("$ ")
            if any(each in command for each in ELSEWHERE):
                continue
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                cluster.environment[name] = value
                continue
            if "rollout status" in command:
                until("a pod", lambda: cluster.play_kubelet("dify-monitoring", "one"))
            said += f"$ {command}\n{cluster.run(command, 'https://hooks.example.com/x', tmp_path)}"
            ran += 1
    assert ran > 15
    assert not warnings(said)


def test_the_kustomization_with_everything_that_its_comments_switch_on(cluster: Cluster, tmp_path: Path) -> None:
    shutil.copytree(KUSTOMIZE, tmp_path / "kubernetes")
    for page in tmp_path.rglob("kustomization.yaml"):
        page.write_text(re.sub(r"(?m)^  # - ", "  - ", page.read_text()))
    (tmp_path / "api.yaml").write_text(BASE)
    (tmp_path / "kustomization.yaml").write_text(
        "{namespace: kustomized, resources: [api.yaml, kubernetes/daemonset], components: [kubernetes/sidecar]}"
    )
    said = cluster.kubectl("apply", "--validate=strict", "--kustomize", tmp_path)
    assert not warnings(said)
    assert {line.partition("/")[0] for line in said.splitlines() if not line.startswith("Warning")} == {
        "configmap", "daemonset.apps", "deployment.apps", "namespace", "poddisruptionbudget.policy", "service",
        "servicemonitor.monitoring.coreos.com", "podmonitor.monitoring.coreos.com",
    }  # fmt: skip


def test_the_sidecar_stays_at_an_upgrade_of_dify_until_it_is_taken_away(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "dify/templates").mkdir(parents=True)
    (tmp_path / "dify/Chart.yaml").write_text("{apiVersion: v2, name: dify, version: 0.1.0}")
    (tmp_path / "dify/templates/api.yaml").write_text(BASE.replace("image: dify", "image: dify:{{ .Values.tag }}"))
    image = ["--set", "image.repository=x,sidecar.enabled=true,dify.namespace=" + namespace]

    def dify(tag: str) -> None:
        cluster.run(["helm", "upgrade", "--install", "dify", str(tmp_path / "dify"), "--set", f"tag={tag}", *inside])

    def patch(kind: str) -> None:
        shown = ["--set", f"sidecar.{kind}=true", "--show-only", "templates/sidecar-patch.yaml"]
        text = cluster.run(["helm", "template", "dify-exporter", str(CHART), *image, *shown])
        (tmp_path / "patch.yaml").write_text(text.partition("---\n")[2])
        cluster.kubectl("patch", "deployment", "dify-api", "--patch-file", tmp_path / "patch.yaml", *inside)

    def images() -> list[str]:
        (deployment,) = cluster.objects("deployments", *inside)
        return [each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]]

    inside = ["--namespace", namespace]
    dify("1")
    cluster.run(["helm", "install", "dify-exporter", str(CHART), *image, "--set", "nodeLogs.enabled=false", *inside])
    patch("patch")
    dify("2")
    assert sorted(images()) == ["dify:2", "x:0.1.0"]
    cluster.run(["helm", "uninstall", "dify-exporter", *inside])
    assert cluster.kubectl("get", "configmap", "dify-exporter-sidecar", *inside)
    patch("removal")
    assert images() == ["dify:2"]
    dify("3")
    assert images() == ["dify:3"]


def test_the_report(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
    said = cluster.kubectl(
        "apply", "--validate=strict", "--namespace", namespace, "--filename", KUSTOMIZE / "report/cronjob.yaml"
    )
    assert not warnings(said), said
