"""The chart as helm renders it; `python -m tests.manifests` writes what of deploy/kubernetes/ comes from it."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.system.programs import find

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy/helm/dify-exporter"
KUSTOMIZE = ROOT / "deploy/kubernetes"

_HEAD = "# Generated from deploy/helm/dify-exporter by `make manifests`. Change the chart, not this file.\n"

#: Files of deploy/kubernetes/: the namespace of the release, the values, and the templates whose objects they hold.
GENERATED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "daemonset/manifests.yaml": ("dify-monitoring", {}, []),
    "daemonset/servicemonitor.yaml": ("dify-monitoring", {"operator": {"enabled": True}}, ["monitors"]),
    "sidecar/configmap.yaml": ("dify", {"nodeLogs": {"enabled": False}, "sidecar": {"enabled": True}}, ["sidecar"]),
    "sidecar/sidecar.yaml": ("dify", {"sidecar": {"enabled": True, "patch": True}}, ["sidecar-patch"]),
    "sidecar/podmonitor.yaml": (
        "dify",
        {"nodeLogs": {"enabled": False}, "sidecar": {"enabled": True}, "operator": {"enabled": True}},
        ["monitors"],
    ),
    "receiver/manifests.yaml": ("dify-monitoring", {"receiver": {"enabled": True}}, ["receiver"]),
    "proxy/manifests.yaml": ("dify-monitoring", {"proxy": {"enabled": True}}, ["proxy"]),
}


def helm(*arguments: str | Path, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm with these values beside the image, which has no default."""
    given = yaml.safe_dump({"image": {"repository": "dify-exporter"}, **(values or {})})
    command = [find("helm"), *arguments, CHART, "--values", "-"]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


def render(values: dict[str, Any], namespace: str = "dify-monitoring", templates: list[str] | None = None) -> str:
    """What `helm template` prints. Raises with helm's sentence where the values are refused."""
    shown = [word for name in templates or () for word in ("--show-only", f"templates/{name}.yaml")]
    version = ["--kube-version", "1.31.0"]  # a helm that was built from Go modules believes in 1.20
    done = helm("template", "dify-exporter", *version, "--namespace", namespace, *shown, values=values)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def generate(name: str) -> str:
    """The text of one file. The labels by which helm knows its objects are left out."""
    namespace, values, templates = GENERATED[name]
    lines = render(values, namespace, templates).splitlines(keepends=True)
    return _HEAD + "".join(
        line
        for line in lines
        if not line.strip().startswith(
            ("helm.sh/", "annotations: {helm.sh/", "app.kubernetes.io/managed-by:", "# Source:")
        )
    )


if __name__ == "__main__":
    for each in GENERATED:
        (KUSTOMIZE / each).parent.mkdir(exist_ok=True)
        (KUSTOMIZE / each).write_text(generate(each))
