"""The chart of deploy/helm, rendered with a table of values."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.manifests import render

Document = dict[str, Any]

ON = {"enabled": True}
PERSISTENT = {**ON, "persistence": {**ON, "storageClassName": "fast"}, "tokenSecret": "receiver", "native": True}
PLACED = {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "podAnnotations": {"team": "care"}}
SETS: dict[str, Document] = {
    "defaults": {},
    "operator": {"operator": ON},
    "dashboards": {"dashboards": {**ON, "annotations": {"grafana_folder": "Dify"}}},
    "sidecar": {"nodeLogs": {"enabled": False}, "sidecar": ON, "operator": ON},
    "receiver": {"receiver": ON},
    "receiver with a volume": {"receiver": {**PERSISTENT, **PLACED}, "operator": ON, "networkPolicy": ON},
    "proxy": {"proxy": {**ON, **PLACED, "config": "openai = true"}, "networkPolicy": ON},
    "one proxy": {"proxy": {**ON, "replicas": 1}, "nodeLogs": {"enabled": False}, "operator": ON},
    "probes": {"operator": ON, "probes": ON, "networkPolicy": ON},
    "no reading of others' files": {"nodeLogs": {"readAnyLog": False, "priorityClassName": "high", **PLACED}},
    "a registry with a password": {
        "imagePullSecrets": [{"name": "registry"}], "receiver": ON, "proxy": ON, "image": {"repository": "r/x", "tag": "2"},
    },
    "values that YAML takes for numbers or that are no labels": {
        "image": {"repository": "r/x", "tag": "_1.0-" + "a" * 56 + "--b"}, "nodeLogs": {"priorityClassName": "1"}, "operator": ON,
        "receiver": {**ON, "tokenSecret": "1", "persistence": {**ON, "storageClassName": "1"}}, "fullnameOverride": "n" * 60,
        "probes": {**ON, "targets": [{"url": "http://a", "module": "http_page", "dependency": each} for each in ("1", "true")]},
    },
    "everything": {
        "receiver": PERSISTENT, "proxy": ON, "operator": ON, "probes": ON, "dashboards": ON, "networkPolicy": ON,
        "extraConfig": '[[budget]]\nname = "monthly"\nwindow = "month"\nunit = "USD"\nlimit = "500"\n',
    },
}  # fmt: skip
#: The resource definitions of prometheus-operator 0.93 (Apache-2.0) without their descriptions, and without unknown keys.
OPERATOR = json.loads((Path(__file__).parent / "operator_schemas.json").read_text())


@cache
def rendered(name: str) -> list[Document]:
    return [document for document in yaml.load_all(render(SETS[name]), yaml.CSafeLoader) if document]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def templates(documents: list[Document]) -> list[Document]:
    return [document["spec"]["template"] for document in of_kind(documents, "DaemonSet", "Deployment")]


def containers(documents: list[Document]) -> list[Document]:
    return [container for template in templates(documents) for container in template["spec"]["containers"]]


def validate(document: Document) -> None:
    _validate(json.dumps(document, sort_keys=True))


@cache
def _validate(text: str) -> None:
    """Most objects are the same in several sets of values."""
    document = json.loads(text)
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        jsonschema.validate(document, OPERATOR[document["kind"]])
    else:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
