"""What is under deploy/ is taken by the programs that it is for."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import kubernetes_validate
import pytest
import yaml

from exporter.config.loader import load
from tests.system.programs import find, running
from tests.system.stack import listening

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def told(*command: str | Path, **options: Any) -> str:
    """What a program says that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def compose() -> dict[str, Any]:
    (document,) = documents(DEPLOY / "compose.yaml")
    return document


@pytest.fixture
def prometheus_folder(tmp_path: Path) -> Path:
    """/etc/prometheus as the quick start lays it out."""
    shutil.copy(DEPLOY / "prometheus.yml", tmp_path)
    shutil.copytree(DEPLOY / "targets", tmp_path / "targets")
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    return tmp_path


# --- Prometheus and blackbox_exporter ---------------------------------------------------------------------------


def test_prometheus_takes_its_configuration_rules_and_targets(prometheus_folder: Path) -> None:
    said = told(find("promtool"), "check", "config", prometheus_folder / "prometheus.yml")
    for file in documents(DEPLOY / "prometheus.yml")[0]["rule_files"]:
        assert f"Checking {prometheus_folder}/{file}" in said
    assert "error" not in said.lower()


def test_each_probe_has_its_module_and_blackbox_exporter_takes_them() -> None:
    told(find("prometheus-blackbox-exporter"), "--config.check", f"--config.file={DEPLOY}/blackbox.yml")
    modules = documents(DEPLOY / "blackbox.yml")[0]["modules"]
    groups = yaml.safe_load((DEPLOY / "targets/probes.yml").read_text())
    assert {group["labels"]["module"] for group in groups} == set(modules)
    assert "dify" in {group["labels"]["dependency"] for group in groups}


# --- Alertmanager -----------------------------------------------------------------------------------------------


def test_alertmanager_takes_its_configuration_and_reads_secrets_from_files() -> None:
    told(find("amtool"), "check-config", DEPLOY / "alertmanager.yml")
    text = (DEPLOY / "alertmanager.yml").read_text()
    assert not re.search(r"(?m)^\s*-?\s*(slack_api_url|smtp_auth_password|routing_key|service_key|url_file):", text)


ROUTES = [
    ("severity=critical team=platform", "pagerduty,slack"),
    ("severity=critical team=finance", "pagerduty,wecom"),
    ("severity=warning team=platform", "slack"),
    ("severity=warning team=finance", "wecom"),
    ("severity=info team=platform", "slack"),
    ("severity=critical team=platform channel=email", "email"),
    ("severity=warning team=finance channel=email", "email"),
    ("alertname=Watchdog severity=none", "dead-mans-switch"),
    ("alertname=SomebodyElses", "slack"),
]


@pytest.mark.parametrize(("labels", "receivers"), ROUTES)
def test_alerts_are_routed_by_severity_and_team(labels: str, receivers: str) -> None:
    command = [find("amtool"), "config", "routes", "test", f"--config.file={DEPLOY}/alertmanager.yml"]
    told(*command, f"--verify.receivers={receivers}", *labels.split())


def test_symptoms_are_silent_while_their_cause_is_told(tmp_path: Path) -> None:
    command = [
        find("prometheus-alertmanager"), f"--config.file={DEPLOY}/alertmanager.yml", f"--storage.path={tmp_path}",
        "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
    ]  # fmt: skip
    alerts = {
        "DifyServiceDown": ("critical", "platform", ""),
        "DifyHighErrorRate": ("critical", "platform", ""),
        "DifyHighLatency": ("warning", "platform", ""),
        "DifyExporterNotParsing": ("warning", "platform", ""),
        "DifyTokenBudgetWarning": ("warning", "finance", ""),
        "DifyDependencyDown": ("critical", "platform", "postgresql"),
    }
    with running(command, tmp_path) as process:
        url = f"http://{listening(process)}"
        for name, (severity, team, dependency) in alerts.items():
            labels = [f"severity={severity}", f"team={team}", "cluster=dify"]
            labels += [f"dependency={dependency}"] if dependency else []
            told(find("amtool"), f"--alertmanager.url={url}", "alert", "add", name, *labels)
        with urlopen(f"{url}/api/v2/alerts", timeout=10) as answer:
            known = json.load(answer)
    silent = {alert["labels"]["alertname"] for alert in known if alert["status"]["inhibitedBy"]}
    assert len(known) == len(alerts)
    assert silent == {"DifyHighErrorRate", "DifyHighLatency"}


SECRETS = {
    "pagerduty_routing_key": "0123456789abcdef0123456789abcdef",
    "slack_api_url": "https://hooks.slack.invalid/services/T/B/X",
    "smtp_password": "p",
    "wecom_secret": "a|b&c\\d",
    "watchdog_url": "https://ping.invalid/a?x=1&y=2",
}


def fill_in(folder: Path) -> subprocess.CompletedProcess[str]:
    script = [DEPLOY / "alertmanager-secrets.sh", DEPLOY / "alertmanager.yml", folder]
    return subprocess.run(script, capture_output=True, text=True)


def test_the_secrets_that_no_file_key_exists_for_are_filled_in_literally(tmp_path: Path) -> None:
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value + "\n")
    filled = yaml.safe_load(fill_in(tmp_path).stdout)
    assert filled["global"]["wechat_api_secret"] == SECRETS["wecom_secret"]
    receivers = {receiver["name"]: receiver for receiver in filled["receivers"]}
    assert receivers["dead-mans-switch"]["webhook_configs"][0]["url"] == SECRETS["watchdog_url"]
    (tmp_path / "filled.yml").write_text(yaml.safe_dump(filled))
    told(find("amtool"), "check-config", tmp_path / "filled.yml")


@pytest.mark.parametrize("missing", SECRETS)
def test_alertmanager_is_not_started_without_a_secret(tmp_path: Path, missing: str) -> None:
    for name, value in SECRETS.items():
        (tmp_path / name).write_text("" if name == missing else value)
    done = fill_in(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"{missing} is missing or empty" in done.stderr


# --- compose and Dockerfile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["compose.yaml", "dify-logs.compose.yaml", "proxy.compose.yaml", "receive.compose.yaml"]
)
def test_compose_files_follow_the_specification(name: str) -> None:
    told(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / name)


def test_every_service_is_pinned_limited_hardened_and_on_loopback() -> None:
    for name, service in compose()["services"].items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name
        assert service["mem_limit"], name
        assert service["user"].split(":")[0] not in {"0", "root"}, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert "build" in service or "healthcheck" in service, f"{name}: the Dockerfile has ours"
        sources = [volume.rsplit(":", 2) for volume in service["volumes"] if volume[0] in "./$"]
        assert all(source[-1] == "ro" for source in sources), name


@pytest.mark.parametrize("missing", ["DIFY_LOGS", "GRAFANA_ADMIN_PASSWORD", "ALERTMANAGER_SECRETS", ""])
def test_compose_refuses_to_start_without_what_it_needs(missing: str, tmp_path: Path) -> None:
    """Debian's docker-compose reads everything but the key `name`, which is younger."""
    text = (DEPLOY / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(re.sub(r"(?m)^name: .*$", "", text))
    values = {"DIFY_LOGS": "/logs", "GRAFANA_ADMIN_PASSWORD": "secret", "ALERTMANAGER_SECRETS": "/secrets"}
    environment = {"PATH": os.environ["PATH"], **values, **({missing: ""} if missing else {})}
    command = [find("docker-compose"), "--file", "compose.yaml", "config"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == (not missing), done.stderr
    assert f"set {missing} in deploy/.env" in done.stderr or not missing


def test_compose_has_no_default_for_what_must_be_secret_or_yours() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == {"DIFY_LOGS", "GRAFANA_ADMIN_PASSWORD", "ALERTMANAGER_SECRETS"}
    assert set(re.findall(r"\$\{(\w+)", text)) - needed == {"DIFY_NETWORK", "DIFY_SSRF_NETWORK"}
    example = (DEPLOY / "env.example").read_text()
    assert all(re.search(rf"(?m)^{name}=\s*(#|$)", example) for name in needed)


def test_what_compose_mounts_from_the_repository_exists() -> None:
    for service in compose()["services"].values():
        for volume in service["volumes"]:
            if volume[0] == ".":
                assert (DEPLOY / volume.split(":")[0]).exists(), volume


def test_the_dockerfile_pleases_hadolint_and_ends_without_root() -> None:
    told(BIN / "hadolint", DEPLOY / "Dockerfile")
    text = (DEPLOY / "Dockerfile").read_text()
    assert len(re.findall(r"(?m)^FROM ", text)) == 2
    assert re.findall(r"(?m)^USER (.*)$", text) == ["65532:65532"]
    wanted = {line[1:].strip() for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text) for word in line.split()}
    assert copied == wanted


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("exporter.toml")), ids=str)
def test_our_own_configurations_load(path: Path) -> None:
    config = load(path)
    assert config.exporter.state == "/var/lib/dify-exporter/state"
    assert config.sources


def test_the_receiver_needs_a_token_and_publishes_no_port() -> None:
    settings = load(DEPLOY / "receive.toml").receive
    ((name, service),) = documents(DEPLOY / "receive.compose.yaml")[0]["services"].items()
    assert (name, "ports" in service) == ("dify-exporter-receive", False)
    mounts = dict(volume.split(":")[1::-1] for volume in service["volumes"])
    assert {settings.token_file, str(Path(settings.log).parent)} < mounts.keys()
    source = "\n".join(line[2:] for line in (DEPLOY / "exporter.toml").read_text().splitlines() if line[:2] == "# ")
    assert f'"/logs/{Path(mounts["/logs"]).name}/{Path(settings.log).name}"' in source


def test_the_proxys_configuration_loads() -> None:
    assert load(DEPLOY / "proxy.toml").proxy.upstream == "http://api:5001"


# --- nginx, logrotate, systemd ----------------------------------------------------------------------------------


def test_the_log_format_survives_difys_templates_and_nginx_takes_it(tmp_path: Path) -> None:
    snippet = (DEPLOY / "nginx/dify-timed.conf").read_text()
    # What Dify's nginx/docker-entrypoint.sh does to a template.
    names = "printenv | cut -d= -f1 | sed 's/^/$/g' | paste -sd, -"
    environment = {**os.environ, "NGINX_PORT": "80", "NGINX_SERVER_NAME": "_", "HTTPS_CONFIG": ""}
    find("envsubst")
    assert told("sh", "-c", f'envsubst "$({names})"', input=snippet, env=environment) == snippet
    (tmp_path / "timed").mkdir()
    (tmp_path / "dify-timed.conf").write_text(snippet.replace("/var/log/nginx/", f"{tmp_path}/"))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ log_format main '$request'; access_log {tmp_path}/access.log main; include {tmp_path}/dify-timed.conf; }}"
    )
    told(find("nginx"), "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf")


def test_logrotate_takes_its_example(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "access.log").write_text("line\n")
    text = (DEPLOY / "logrotate.conf").read_text()
    text = text.replace("/opt/dify/docker/volumes/logs/nginx", str(logs))
    text = text.replace("docker exec docker-nginx-1 nginx -s reopen", f"touch {tmp_path}/reopened")
    (tmp_path / "logrotate.conf").write_text(text)
    (tmp_path / "logrotate.conf").chmod(0o644)
    told(find("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "logrotate.conf")
    assert (logs / "access.log.1").read_text() == "line\n"
    assert (tmp_path / "reopened").exists()


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_takes_the_units_and_finds_them_confined(tmp_path: Path, unit: Path) -> None:
    analyze = find("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/dify-exporter/bin/dify-exporter", "/bin/true"))
    assert told(analyze, "verify", "--man=no", copy) == ""
    told(analyze, "security", "--offline=yes", "--threshold=25", copy)


# --- Kubernetes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((DEPLOY / "kubernetes").rglob("*.yaml")), ids=str)
def test_manifests_follow_the_schemas_of_kubernetes(path: Path) -> None:
    for document in documents(path):
        if document["apiVersion"].startswith(("kustomize", "monitoring")):
            continue  # no schema of theirs in the package; `kubectl kustomize` reads the former below
        if path.name == "sidecar.yaml":  # a patch: the Deployment under it has the selector and the image
            document["spec"]["selector"] = {"matchLabels": {}}
            document["spec"]["template"]["spec"]["containers"][0]["image"] = "dify"
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


BASE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: dify-api, labels: {component: api}}
spec:
  selector: {matchLabels: {component: api}}
  template:
    metadata: {labels: {component: api}}
    spec: {containers: [{name: api, image: dify}]}
"""


def build(folder: Path) -> dict[str, dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is in no Debian release that has Components; the manifests were checked one by one")
    built = told("kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", folder)
    return {document["kind"]: document for document in yaml.safe_load_all(built)}


def test_the_daemonset_keeps_its_series_on_the_node() -> None:
    built = build(DEPLOY / "kubernetes/daemonset")
    volumes = {volume["name"]: volume for volume in built["DaemonSet"]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["state"]["hostPath"]["path"] == "/var/lib/dify-exporter"
    assert volumes["config"]["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"]
    (endpoint,) = built["ServiceMonitor"]["spec"]["endpoints"]
    assert {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "instance"} in endpoint["relabelings"]
    assert endpoint["port"] == built["Service"]["spec"]["ports"][0]["name"]


def test_the_sidecar_joins_difys_api(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "kubernetes/sidecar", tmp_path / "sidecar")
    (tmp_path / "api.yaml").write_text(BASE)
    (tmp_path / "kustomization.yaml").write_text("resources: [api.yaml]\ncomponents: [sidecar]\n")
    built = build(tmp_path)
    deployment = built["Deployment"]
    assert deployment["metadata"]["name"] == "dify-api"
    containers = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["containers"]}
    assert set(containers) == {"api", "dify-exporter"}
    assert containers["api"]["image"] == "dify"
    shared = [mount for each in containers.values() for mount in each["volumeMounts"] if mount["name"] == "dify-logs"]
    assert [mount.get("readOnly", False) for mount in shared] == [False, True]
    kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    wanted = built["PodMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert wanted <= deployment["spec"]["template"]["metadata"]["labels"].items()
