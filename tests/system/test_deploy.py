"""What is under deploy/ is taken by the programs that it is for."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from exporter.config.loader import load
from tests.rules import rules
from tests.system.programs import find, running
from tests.system.stack import listening

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def output_of(*command: str | Path, **options: Any) -> str:
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
    output = output_of(find("promtool"), "check", "config", prometheus_folder / "prometheus.yml")
    for file in documents(DEPLOY / "prometheus.yml")[0]["rule_files"]:
        assert f"Checking {prometheus_folder}/{file}" in output
    assert "error" not in output.lower()


def test_the_command_of_the_container_starts_prometheus(prometheus_folder: Path) -> None:
    """compose.yaml's own arguments; only folders and the port are replaced, and no engine is needed."""
    arguments = "\n".join(compose()["services"]["prometheus"]["command"])
    arguments = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", arguments).replace("/etc/prometheus", str(prometheus_folder))
    arguments = arguments.replace("=/prometheus", f"={prometheus_folder}/data")
    command = [find("prometheus"), *arguments.splitlines(), "--web.listen-address=127.0.0.1:0"]
    with running(command, prometheus_folder) as process:
        url = f"http://{listening(process)}"
        process.said("Server is ready to receive web requests")
        with urlopen(f"{url}/api/v1/rules", timeout=10) as answer:
            loaded = {group["name"] for group in json.load(answer)["data"]["groups"]}
    assert loaded == {rule.group for rule in rules()}


def test_each_probe_has_its_module_and_blackbox_exporter_takes_them() -> None:
    output_of(find("prometheus-blackbox-exporter"), "--config.check", f"--config.file={DEPLOY}/blackbox.yml")
    modules = documents(DEPLOY / "blackbox.yml")[0]["modules"]
    on = yaml.safe_load((DEPLOY / "targets/probes.yml").read_text())
    every = yaml.safe_load(switched_on(DEPLOY / "targets/probes.yml"))
    assert {group["labels"]["module"] for group in every} == set(modules)
    assert {group["labels"]["dependency"] for group in on} == {
        "dify",
        "console",
        "web",
        "plugin-daemon",
        "postgresql",
        "redis",
    }
    assert {group["labels"]["dependency"] for group in every[len(on) :]} == {"vector-store", "sandbox", "openai"}


def switched_on(path: Path) -> str:
    """The file after the operator has removed the # of each entry that is off."""
    return re.sub(r"(?m)^\[\]\n|^# (?=- targets|  labels|\[\[|\w+ = )", "", path.read_text())


def test_a_daemon_without_metrics_is_no_target_until_it_is_switched_on() -> None:
    path = DEPLOY / "targets/plugin-daemon.yml"
    assert yaml.safe_load(path.read_text()) == []
    assert yaml.safe_load(switched_on(path)) == [{"targets": ["plugin_daemon:5002"]}]


# --- compose and Dockerfile -------------------------------------------------------------------------------------


def test_compose_files_follow_the_specification() -> None:
    output_of(
        BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *sorted(DEPLOY.glob("*compose.yaml"))
    )


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


@pytest.mark.parametrize("missing", ["DIFY_LOGS", "GRAFANA_ADMIN_PASSWORD", ""])
def test_compose_refuses_to_start_without_what_it_needs(missing: str, tmp_path: Path) -> None:
    """Debian's docker-compose reads everything but the key `name`, which is younger."""
    text = (DEPLOY / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(re.sub(r"(?m)^name: .*$", "", text))
    values = {"DIFY_LOGS": "/logs", "GRAFANA_ADMIN_PASSWORD": "secret"}
    environment = {"PATH": os.environ["PATH"], **values, **({missing: ""} if missing else {})}
    command = [find("docker-compose"), "--file", "compose.yaml", "config"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == (not missing), done.stderr
    assert f"set {missing} in deploy/.env" in done.stderr or not missing


def test_compose_has_no_default_for_what_must_be_secret_or_yours() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == {"DIFY_LOGS", "GRAFANA_ADMIN_PASSWORD"}
    example = (DEPLOY / "env.example").read_text()
    values = dict(re.findall(r"(?m)^(\w+)=(.*)$", example))
    assert values.keys() == set(re.findall(r"\$\{(\w+)", text))
    assert not values["GRAFANA_ADMIN_PASSWORD"]
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", text):
        assert values[name] == default, f"{name}: env.example shows another default"


def test_links_lead_to_what_the_stack_serves() -> None:
    values = dict(re.findall(r"(?m)^(\w+)=(.*)$", (DEPLOY / "env.example").read_text()))
    ports = {port.split(":")[1] for service in compose()["services"].values() for port in service.get("ports", ())}
    for name in ("DASHBOARDS_URL", "PROMETHEUS_URL", "ALERTMANAGER_URL"):
        assert values[name].removeprefix("http://localhost:") in ports
    bases = {rule.table["annotations"]["dashboard_url"].partition("/d/")[0] for rule in rules() if rule.alerts}
    assert bases == {values["DASHBOARDS_URL"]}


DIFY = """
services:
  api: {image: dify-api, environment: {MODE: api}, volumes: ["./volumes/app/storage:/app/api/storage"]}
  worker: {image: dify-api, environment: {MODE: worker}}
  nginx: {image: nginx, volumes: ["./nginx/conf.d:/etc/nginx/conf.d"]}
"""


@pytest.mark.parametrize("names", [["dify-logs"], ["proxy"], ["dify-logs", "proxy"]], ids=" ".join)
def test_our_files_work_beside_difys_and_together(names: list[str], tmp_path: Path) -> None:
    """As the quick start says: copied beside Dify's file under their names, and listed in COMPOSE_FILE of its .env."""
    files = [f"{name}.compose.yaml" for name in names]
    for file in files:
        shutil.copy(DEPLOY / file, tmp_path)
    (tmp_path / "docker-compose.yaml").write_text('version: "3.8"\n' + DIFY)
    (tmp_path / ".env").write_text(f"COMPOSE_FILE={':'.join(['docker-compose.yaml', *files])}\n")
    for file in files:  # Debian's docker-compose wants a version in each file, which newer ones ignore
        (tmp_path / file).write_text('version: "3.8"\n' + re.sub(r", options: .*", "}", (tmp_path / file).read_text()))
    output = subprocess.run([find("docker-compose"), "config"], cwd=tmp_path, capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    services = yaml.safe_load(output.stdout)["services"]
    mounted = {
        volume.split(":")[0].removeprefix(f"{tmp_path}/")
        for each in services.values()
        for volume in each.get("volumes", ())
    }
    wanted = {
        "dify-logs": {"volumes/logs/api", "volumes/logs/worker", "volumes/logs/nginx"},
        "proxy": {"volumes/logs/proxy"},
    }
    assert {path for path in mounted if path.startswith("volumes/logs")} == set().union(
        *(wanted[name] for name in names)
    )
    assert "./volumes/app/storage:/app/api/storage" in DIFY
    assert "volumes/app/storage" in mounted, "Dify's own volumes stay"


def test_the_exporter_reads_where_the_logs_are_written() -> None:
    """/logs in the container is volumes/logs of Dify's folder."""
    text = switched_on(DEPLOY / "exporter.toml")
    sources = {source["name"]: source["paths"] for source in tomllib.loads(text)["source"]}
    folders = {path.removeprefix("/logs/").partition("/")[0] for paths in sources.values() for path in paths}
    files = [documents(path)[0] for path in DEPLOY.glob("*.compose.yaml")]
    volumes = [volume for file in files for service in file["services"].values() for volume in service["volumes"]]
    written = {
        volume.split(":")[0].removeprefix("./volumes/logs/") for volume in volumes if volume.startswith("./volumes/")
    }
    assert folders == written
    assert dict(re.findall(r"(?m)^(\w+)=(.*)$", (DEPLOY / "env.example").read_text()))["DIFY_LOGS"].endswith(
        "/volumes/logs"
    )


def test_what_compose_mounts_from_the_repository_exists() -> None:
    for service in compose()["services"].values():
        for volume in service["volumes"]:
            if volume[0] == ".":  # the folder of the secrets has a variable, for it is not in the repository
                assert (DEPLOY / volume.split(":")[0]).exists(), volume


def test_the_dockerfile_pleases_hadolint_and_ends_without_root() -> None:
    output_of(BIN / "hadolint", DEPLOY / "Dockerfile")
    text = (DEPLOY / "Dockerfile").read_text()
    assert len(re.findall(r"(?m)^FROM ", text)) == 2
    assert re.findall(r"(?m)^USER (.*)$", text) == ["65532:65532"]
    wanted = {line[1:].strip() for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text) for word in line.split()}
    assert copied == wanted


def test_the_configuration_in_the_container_loads() -> None:
    config = load(DEPLOY / "exporter.toml")
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
    assert output_of("sh", "-c", f'envsubst "$({names})"', input=snippet, env=environment) == snippet
    (tmp_path / "timed").mkdir()
    (tmp_path / "dify-timed.conf").write_text(snippet.replace("/var/log/nginx/", f"{tmp_path}/"))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ log_format main '$request'; access_log {tmp_path}/access.log main; include {tmp_path}/dify-timed.conf; }}"
    )
    output_of(find("nginx"), "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf")


def test_logrotate_takes_its_example(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "access.log").write_text("line\n")
    text = (DEPLOY / "logrotate.conf").read_text()
    text = text.replace("/opt/dify/docker/volumes/logs/nginx", str(logs))
    text = text.replace("docker exec docker-nginx-1 nginx -s reopen", f"touch {tmp_path}/reopened")
    (tmp_path / "logrotate.conf").write_text(text)
    (tmp_path / "logrotate.conf").chmod(0o644)
    output_of(find("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "logrotate.conf")
    assert (logs / "access.log.1").read_text() == "line\n"
    assert (tmp_path / "reopened").exists()


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_takes_the_units_and_finds_them_confined(tmp_path: Path, unit: Path) -> None:
    analyze = find("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/dify-exporter/bin/dify-exporter", "/bin/true"))
    assert output_of(analyze, "verify", "--man=no", copy) == ""
    output_of(analyze, "security", "--offline=yes", "--threshold=25", copy)
