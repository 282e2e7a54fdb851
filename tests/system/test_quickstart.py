"""docs/quickstart.md by the letter: its compose steps are run in a folder like Dify's, but for the commands of Docker."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.system.programs import find

ROOT = Path(__file__).parents[2]
DIFY = """
version: "3.8"
services:
  api: {image: dify-api}
  worker: {image: dify-api}
  nginx: {image: nginx}
"""


def commands(page: str, heading: str) -> list[str]:
    """What follows `$` or `#` in the console blocks of a section."""
    text = (ROOT / "docs" / page).read_text()
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## )", text)
    assert section is not None
    blocks = re.findall(r"(?s)```console\n(.*?)```", section[1])
    return [line.strip()[2:] for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Dify's folder docker/, and a clone as far as the steps need it."""
    (tmp_path / "docker/nginx/conf.d").mkdir(parents=True)
    (tmp_path / "docker/docker-compose.yaml").write_text(DIFY)
    (tmp_path / "docker/.env").write_text("SECRET_KEY=x\n")
    shutil.copytree(
        ROOT / "deploy", tmp_path / "clone/deploy", symlinks=True, ignore=shutil.ignore_patterns(".env", "secrets")
    )
    return tmp_path


def run(machine: Path) -> None:
    """All compose steps in one shell, as the reader's; the secret is what arrives on standard input."""
    lines = [line for line in commands("quickstart.md", "Docker compose") if not line.startswith("docker ")]
    script = "\n".join(["set -e", *lines]).replace("sudo ", "")
    script = re.sub(r"DIFY=\S+ REPO=\S+", f"DIFY={machine}/docker REPO={machine}/clone", script)
    if os.geteuid() != 0:  # only root may give files away
        script = re.sub(r"-o \d+ ", "", script)
    subprocess.run(["bash", "-c", script], input="https://hooks.slack.invalid/x\n", text=True, check=True, timeout=60)


def test_every_folder_that_a_container_mounts_is_made(machine: Path) -> None:
    run(machine)
    dify, clone = machine / "docker", machine / "clone"
    environment = dict(
        line.split("=", 1) for line in (clone / "deploy/.env").read_text().splitlines() if re.match(r"\w+=", line)
    )
    assert environment["DIFY_LOGS"] == f"{dify}/volumes/logs"
    assert len(environment["GRAFANA_ADMIN_PASSWORD"]) == 32
    files = [dify / name for name in (dify / ".env").read_text().partition("COMPOSE_FILE=")[2].strip().split(":")]
    names = ["docker-compose", "dify-logs.compose", "receive.compose", "proxy.compose"]
    assert [file.name for file in files] == [f"{name}.yaml" for name in names]
    mounts = [
        (file.parent, volume.split(":")[0])
        for file in (*files, clone / "deploy/compose.yaml")
        for service in yaml.safe_load(file.read_text())["services"].values()
        for volume in service.get("volumes", ())
    ]
    for folder, source in mounts:
        place = "./secrets" if source.startswith("${ALERTMANAGER_SECRETS") else source
        if place.startswith("./"):
            assert (folder / place).exists(), place
    assert (clone / "deploy/secrets/slack_api_url").read_text().startswith("https://hooks.slack.invalid/")
    if os.geteuid() == 0:
        owners = {name: (dify / "volumes/logs" / name).stat().st_uid for name in ("api", "worker", "proxy", "receive")}
        assert owners == {"api": 1001, "worker": 1001, "proxy": 65532, "receive": 65532}
        assert (clone / "deploy/secrets/slack_api_url").stat().st_uid == 65534


def test_compose_reads_difys_project_after_the_steps(machine: Path) -> None:
    run(machine)
    for file in (machine / "docker").glob("*.compose.yaml"):  # Debian's docker-compose wants a version in each file
        file.write_text('version: "3.8"\n' + file.read_text())
    done = subprocess.run([find("docker-compose"), "config"], cwd=machine / "docker", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {
        "api",
        "worker",
        "nginx",
        "dify-proxy",
        "dify-exporter-receive",
    }


def test_each_command_of_docker_says_its_folder_or_its_project() -> None:
    """Behind a `cd`, or with -p, which works in every folder."""
    folder = ""
    for line in commands("quickstart.md", "Docker compose"):
        folder = line.removeprefix("cd ") if line.startswith("cd ") else folder
        if line.startswith("docker compose --file deploy/"):
            assert folder == "$REPO"
        elif line.startswith("docker "):
            assert line.startswith("docker compose -p dify-monitoring") or folder == "$DIFY", line


@pytest.mark.parametrize(
    ("heading", "chinese"), [("Docker compose", "Docker compose"), ("Bare metal", "直接安装（不用容器）")]
)
def test_the_chinese_page_has_the_same_commands(heading: str, chinese: str) -> None:
    assert commands("zh/quickstart.md", chinese) == commands("quickstart.md", heading)


@pytest.mark.parametrize("unit", ["prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter"])
def test_the_programs_of_the_bare_machine_take_their_arguments_and_listen_on_it_only(unit: str) -> None:
    (line,) = (each for each in commands("quickstart.md", "Bare metal") if each.endswith(f" > /etc/default/{unit}"))
    found = re.search(r"ARGS=\"(.*)\"'", line)
    assert found is not None
    flags = found[1].split()
    assert any(flag.startswith("--web.listen-address=127.0.0.1:") for flag in flags)
    known = subprocess.run([find(unit), "--help"], capture_output=True, text=True, timeout=60)
    for flag in flags:
        assert flag.partition("=")[0] in known.stdout + known.stderr


def test_the_edits_of_the_bare_machine_change_what_they_mean_to(tmp_path: Path) -> None:
    """Each `sed -i` finds its text, and the script of the channels prints a file."""
    lines = commands("quickstart.md", "Bare metal")
    shutil.copytree(ROOT / "deploy/targets", tmp_path / "targets")
    shutil.copy(ROOT / "deploy/prometheus.yml", tmp_path)
    (tmp_path / "exporter.toml").write_text('state = ".dify-exporter/state"     # this folder\n')
    before = {path: path.read_text() for path in tmp_path.rglob("*.*")}
    script = "\n".join(line for line in lines if line.startswith(("sed ", "printf ")))
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    changed = {path.name for path, text in before.items() if path.is_file() and path.read_text() != text}
    assert changed == {"exporter.toml", "prometheus.yml", "dify-exporter.yml", "alertmanager.yml", "probes.yml"}
    (group,) = yaml.safe_load((tmp_path / "targets/probes.yml").read_text())
    assert group["labels"]["dependency"] == "dify"
