"""deploy/alertmanager.yml with any subset of its channels, as alertmanager-secrets.sh prints it and Alertmanager takes it."""

import os
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.drill.receivers import receiving
from tests.system.programs import find, running, until
from tests.system.stack import DEPLOY, listening
from tests.system.test_deploy import output_of

SECRETS = {
    "pagerduty": ("pagerduty_routing_key", "0123456789abcdef0123456789abcdef"),
    "slack": ("slack_api_url", "https://hooks.slack.invalid/services/T/B/X"),
    "email": ("smtp_password", "p"),
    "wecom": ("wecom_secret", "a|b&c\\d"),
    "watchdog": ("watchdog_url", "https://ping.invalid/a?x=1&y=2"),
}
ROBOTS = {
    "feishu": ("feishu_url", "https://open.feishu.invalid/hook/x"),
    "dingtalk": ("dingtalk_url", "https://oapi.dingtalk.invalid/robot/send?access_token=x"),
    "wecom-robot": ("wecom_robot_url", "https://qyapi.weixin.invalid/cgi-bin/webhook/send?key=x"),
}
SUBSETS = [subset for number in range(len(SECRETS) + 1) for subset in combinations(SECRETS, number)]


def edited(folder: Path) -> Path:
    """The file after the operator has written addresses and numbers into it."""
    text = (DEPLOY / "alertmanager.yml").read_text()
    (folder / "edited.yml").write_text(text.replace("example.com", "example.org").replace("ww0000000000000000", "ww1"))
    return folder / "edited.yml"


def fill_in(
    folder: Path, *channels: str, config: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    for channel in channels:
        name, value = {**SECRETS, **ROBOTS}[channel]
        (secrets / name).write_text(value + "\n")
    script = ["sh", DEPLOY / "alertmanager-secrets.sh", config or edited(folder), secrets]
    return subprocess.run(script, capture_output=True, text=True, env={**os.environ, **environment})


def filled(folder: Path, *channels: str, **environment: str) -> Path:
    done = fill_in(folder, *channels, **environment)
    assert done.returncode == 0, done.stderr
    (folder / "filled.yml").write_text(done.stdout)
    return folder / "filled.yml"


def integrations(config: Path) -> dict[str, set[str]]:
    document = yaml.safe_load(config.read_text())
    return {each["name"]: {key for key in each if key.endswith("_configs")} for each in document["receivers"]}


def goes_to(config: Path, labels: str) -> list[str]:
    output = output_of(find("amtool"), "config", "routes", "test", f"--config.file={config}", *labels.split())
    return output.splitlines()[0].split(",")


def test_the_file_is_valid_as_it_is_and_reads_secrets_from_files() -> None:
    output_of(find("amtool"), "check-config", DEPLOY / "alertmanager.yml")
    text = (DEPLOY / "alertmanager.yml").read_text()
    assert not re.search(r"(?m)^\s*-?\s*(slack_api_url|smtp_auth_password|routing_key|service_key|url_file):", text)


@pytest.mark.parametrize("channels", SUBSETS, ids=lambda channels: " ".join(channels) or "none")
def test_any_subset_of_the_channels_works(tmp_path: Path, channels: tuple[str, ...]) -> None:
    config = filled(tmp_path, *channels)
    output_of(find("amtool"), "check-config", config)
    assert not re.search(r"(?m)^ *#", config.read_text())
    chat = [channel for channel in ("slack",) if channel in channels]
    others = [channel for channel in ("wecom", "email", "pagerduty") if channel in channels]
    default = "chat" if chat else others[0] if others else "nobody"
    page = ["pagerduty"] if "pagerduty" in channels and default != "pagerduty" else []
    finance = "wecom" if "wecom" in channels else default
    assert goes_to(config, "severity=critical team=platform") == [*page, default]
    assert goes_to(config, "severity=warning team=platform") == [default]
    assert goes_to(config, "severity=critical team=finance") == [*page, finance]
    assert goes_to(config, "severity=warning team=finance") == [finance]
    assert goes_to(config, "severity=warning channel=email") == ["email" if "email" in channels else default]
    assert goes_to(config, "alertname=SomebodyElses") == [default]
    assert goes_to(config, "alertname=Watchdog severity=none") == ["dead-mans-switch"]
    known = integrations(config)
    assert all(known[name] for name in (*page, finance, default) if name != "nobody"), "a message must go somewhere"
    assert bool(known["dead-mans-switch"]) == ("watchdog" in channels)


def test_the_pages_name_the_files_of_the_channels() -> None:
    names = {name for name, _ in (SECRETS | ROBOTS).values()}
    script = (DEPLOY / "alertmanager-secrets.sh").read_text()
    assert set(re.findall(r"[\w-]+:(\w+_\w+)", script.partition("for each in ")[2].partition("; do")[0])) == names
    for page in ("quickstart.md", "zh/quickstart.md"):
        text = (DEPLOY.parent / "docs" / page).read_text()
        assert not [name for name in names if f"`{name}`" not in text]


def test_the_secrets_that_no_file_key_exists_for_are_filled_in_literally(tmp_path: Path) -> None:
    document = yaml.safe_load(filled(tmp_path, *SECRETS).read_text())
    assert document["global"]["wechat_api_secret"] == SECRETS["wecom"][1]
    receivers = {receiver["name"]: receiver for receiver in document["receivers"]}
    assert receivers["dead-mans-switch"]["webhook_configs"][0]["url"] == SECRETS["watchdog"][1]


def test_it_names_the_channels_that_are_on_and_never_a_secret(tmp_path: Path) -> None:
    done = fill_in(tmp_path, "slack", "wecom")
    assert "on: slack wecom;" in done.stderr
    assert "email (smtp_password)" in done.stderr
    assert not [value for _, value in SECRETS.values() if value in done.stderr and len(value) > 1]


def test_links_lead_to_the_given_addresses(tmp_path: Path) -> None:
    given = {"DASHBOARDS_URL": "https://grafana.example.org/a&b/", "RUNBOOKS_URL": "https://wiki.example.org/dify"}
    config = filled(tmp_path, "slack", "pagerduty", "wecom", **given)
    output_of(find("amtool"), "check-config", config)
    text = config.read_text()
    assert (
        "(reReplaceAll `^https*://[^/]*` `https://grafana.example.org/a&b` (index .Alerts 0).Annotations.dashboard_url)"
        in text
    )
    assert "(reReplaceAll `^.*/` `https://wiki.example.org/dify/` .Annotations.runbook_url)" in text
    assert text.count(".Annotations.runbook_url") == text.count("`https://wiki.example.org/dify/`")
    assert "reReplaceAll" not in filled(tmp_path).read_text()


REFUSED = [
    ("slack_api_url", "", "slack_api_url is empty"),
    ("feishu_url", "https://open.feishu.invalid/", "need Alertmanager 0.32 or newer, and this is 0.2"),
    ("smtp_password", "p", "still has addresses of example.com"),
    ("wecom_secret", "s", "still has the corp id ww0000000000000000"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), REFUSED)
def test_what_is_wrong_is_refused_in_one_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / name).write_text(value)
    done = fill_in(tmp_path, config=DEPLOY / "alertmanager.yml")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr


# --- the group robots of Feishu, DingTalk and WeCom -------------------------------------------------------------


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """A PATH on which Alertmanager is new enough. No registry has one; its answer to --version is all that matters here."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/amtool").write_text("#!/bin/sh\necho 'amtool, version 0.32.1 (branch: HEAD, revision: 1)'\n")
    (tmp_path / "bin/amtool").chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def texts(payload: Any) -> list[str]:
    if isinstance(payload, dict):
        return [text for value in payload.values() for text in texts(value)]
    return [payload]


@pytest.mark.parametrize(
    "channels", [*((robot,) for robot in ROBOTS), tuple(ROBOTS), ("slack", "feishu"), ("pagerduty", "dingtalk")]
)
def test_a_robot_gets_the_body_that_it_accepts(
    tmp_path: Path, newer: dict[str, str], channels: tuple[str, ...]
) -> None:
    config = filled(tmp_path, *channels, **newer)
    (chat,) = [each for each in yaml.safe_load(config.read_text())["receivers"] if each["name"] == "chat"]
    robots = chat["webhook_configs"]
    assert [Path(robot["url_file"]).name for robot in robots] == [
        ROBOTS[each][0] for each in channels if each in ROBOTS
    ]
    for robot in robots:
        assert robot["send_resolved"]
        body = robot["payload"]
        kind = body.get("msgtype") or body["msg_type"]
        assert isinstance(body.get(kind) or body["content"], dict)
        for text in texts(body):
            # Alertmanager (template.DeepCopyWithTemplate) sends what YAML reads in a text; nothing reads two * as YAML.
            assert text == kind or text.startswith("**"), text
            assert text == kind or "Dify" in text or "alertname" in text, "the robot's keyword"


# --- in the container -------------------------------------------------------------------------------------------


def test_the_command_of_the_container_brings_an_alert_to_the_only_channel(tmp_path: Path) -> None:
    """compose.yaml's own command line; only paths and the port are replaced, and no engine is needed."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["alertmanager"]
    with receiving() as receivers:
        (tmp_path / "etc/secrets").mkdir(parents=True)
        (tmp_path / "etc/secrets/slack_api_url").write_text(f"{receivers.address}/slack\n")
        for name in ("alertmanager.yml", "alertmanager-secrets.sh"):
            text = (DEPLOY / name).read_text().replace("/etc/alertmanager/", f"{tmp_path}/etc/")
            (tmp_path / "etc" / name).write_text(text.replace("group_wait: 30s", "group_wait: 0s"))
        (tmp_path / "alertmanager").symlink_to(find("prometheus-alertmanager"))
        (command,) = service["command"]
        command = command.replace("/tmp/", f"{tmp_path}/").replace("/etc/alertmanager/", f"{tmp_path}/etc/")
        command = command.replace("=/alertmanager", f"={tmp_path}/data").replace(
            "${ALERTMANAGER_URL:-http://localhost:9093}", "http://h"
        )
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "DASHBOARDS_URL": "http://grafana.example.org",
            "RUNBOOKS_URL": "",
        }
        line = [*service["entrypoint"], f"{command} --web.listen-address=127.0.0.1:0"]
        with running(line, tmp_path, environment) as process:
            process.said("on: slack;")
            url = f"http://{listening(process)}"
            labels = ["severity=critical", "team=platform"]
            links = ["--annotation=dashboard_url=http://localhost:3000/d/dify-overview", "--annotation=summary=A test"]
            output_of(find("amtool"), f"--alertmanager.url={url}", "alert", "add", "Test", *labels, *links)
            until("the message", lambda: receivers.find("Slack", "firing", "A test"))
        assert not receivers.refused
