"""Commands of docs/ are those of tests/reader_commands.py, and work where the reader is."""

import re
import shlex

import pytest
import yaml

from tests.reader_commands import DOCS, VARIANTS, command, pages, written

PAGES = sorted(DOCS.rglob("*.md"))
LINES = [
    "query 'up{job=\"dify-exporter\"} == 0'",
    "promtool check config {prometheus.yml}",
    "amtool config routes test --config.file={alertmanager.yml} severity=critical",
    "exporter check | tail -5",
    "get dify-health",
    "get alertmanager/metrics | grep failed",
    "dify-log api 2000 | grep ERROR",
    "dify-log plugin_daemon 50",
    "dify-ps api nginx",
    "dify-restart worker",
    "dify-exec api printenv APP_MAX_ACTIVE_REQUESTS",
    "dify-get db-pool-stat",
    "dify-ps",
    "probe",
    "log alertmanager 200 | grep -i notify",
    "ps exporter",
    "disk",
]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_the_commands_of_a_page_are_written_by_make_docs(page) -> None:
    text = page.read_text()
    assert text.count("<!-- commands\n") == text.count("<!-- end of commands -->")
    assert text == written(text, chinese="zh" in page.parts), "run `make docs`"


@pytest.mark.parametrize(
    "name", ["quickstart", "zh/quickstart", "troubleshooting", "production-checklist", "kubernetes"]
)
def test_nothing_is_needed_on_the_host_that_the_installation_does_not_bring(name: str) -> None:
    """Beside the bare machine's section, whose packages bring promtool and amtool, these run in their containers."""
    text = re.sub(r"(?s)<!-- commands.*?<!-- end of commands -->", "", (DOCS / f"{name}.md").read_text())
    text = re.sub(r"(?ms)^## (Bare metal|直接安装).*?(?=^## )", "", text)
    lines = [line.strip() for block in re.findall(r"(?s)```console\n(.*?)```", text) for line in block.splitlines()]
    assert not [line for line in lines if re.match(r"\$ (promtool|amtool|dify-exporter)\b", line)]
    assert not [line for line in lines if "127.0.0.1:5001" in line or "localhost:5001" in line]


@pytest.mark.parametrize("line", ["dify-ps", "dify-ps api nginx", "ps exporter"])
@pytest.mark.parametrize("variant", ["compose", "bare"])
def test_a_container_that_has_stopped_is_listed(line: str, variant: str) -> None:
    words = shlex.split(command(line, variant))
    assert words[0] == "systemctl" or "--all" in words[words.index("ps") :]


def test_a_probe_asks_for_a_target_that_the_variant_has() -> None:
    targets = (DOCS.parent / "deploy/targets/probes.yml").read_text()
    for variant, sources in {
        "compose": targets,
        "kubernetes": (DOCS / "kubernetes.md").read_text(),
        "bare": (DOCS / "quickstart.md").read_text().partition("## Bare metal")[2],
    }.items():
        asked = re.search(r"module=(\w+)&target=([^&']+)", command("probe", variant))
        assert asked is not None
        assert re.search(rf'"{re.escape(asked[2])}".{{0,40}}module: {asked[1]}', sources, re.DOTALL), variant


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_line_becomes_one_command_of_programs_that_the_variant_brings(line: str, variant: str) -> None:
    words = shlex.split(command(line, variant))
    assert "{" not in " ".join(words).replace('{job="dify-exporter"}', "")
    assert (
        words[0]
        in {
            "compose": {"docker"},
            "kubernetes": {"kubectl"},
            "bare": {
                "promtool",
                "amtool",
                "curl",
                "tail",
                "docker",
                "df",
                "journalctl",
                "systemctl",
                "/opt/dify-exporter/bin/dify-exporter",
            },
        }[variant]
    )
    behind = line.partition(" | ")[2]
    assert command(line, variant).endswith(behind)


def test_what_the_commands_name_is_in_our_compose_file_and_in_the_chart() -> None:
    compose = yaml.safe_load((DOCS.parent / "deploy/compose.yaml").read_text())
    for line in LINES:
        words = command(line, "compose").split()
        assert words[2:4] in (["-p", "dify-monitoring"], ["-p", "docker"])
        if words[3] == "dify-monitoring":
            assert compose["services"].keys() & set(words[4:]), line
    assert compose["name"] == "dify-monitoring"
    chart = (DOCS.parent / "deploy/kubernetes/daemonset/manifests.yaml").read_text()
    assert re.search(r"kind: DaemonSet\nmetadata:\n  name: dify-exporter\n  namespace: dify-monitoring\n", chart)


@pytest.mark.parametrize("line", ["unknown thing", "dify-delete api", "get nowhere", "dify-log database 5"])
def test_a_line_that_means_nothing_is_refused(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        command(line, "compose")
