"""The status page in a real Chromium: its text, no requests to other sites, and accessibility."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.browser import chromium
from tests.system.exporter import Exporter, serving
from tests.system.programs import until

SAMPLES = Path(__file__).parents[2] / "samples"

SOURCES = """
start_at = "beginning"
[[source]]
name = "nginx"
paths = ["nginx-dify-timed.log"]
parser = "nginx"
format = "dify-timed"
[[source]]
name = "proxy <script>alert(1)</script>"
paths = ["dify-proxy.log"]
parser = "dify"
[[source]]
name = "gateway"
paths = ["gateway.log"]
parser = "regex"
pattern = '^(?P<method>\\S+) (?P<path>\\S+) (?P<status_code>\\d{3}) (?P<duration>[\\d.]+)$'
[[source]]
name = "nobody"
paths = ["missing.log"]
parser = "dify"
[[budget]]
name = "monthly"
window = "month"
unit = "tokens"
limit = "60000"
[apps]
"5180bc0d-bc0e-4156-a37e-bb8e3b91d26a" = { name = "Support & care", team = "care" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def exporter(folder: Path):
    for name in ("nginx-dify-timed.log", "dify-proxy.log", "gateway.log"):
        shutil.copy(SAMPLES / name, folder)
    with (folder / "gateway.log").open("a") as log:
        log.write("CANARY-user secret-token </table><script>alert(2)</script>\n")
    with serving(folder, SOURCES) as exporter:
        yield exporter


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_the_page(exporter: Exporter, width: int, scheme: str) -> None:
    with chromium(width, scheme=scheme) as browser:
        browser.open(exporter.url + "/")
        is_open = "return [...document.querySelectorAll('main details')].map(each => each.open)"
        assert set(browser.run(is_open)) == {width > 600}
        if width < 600:
            browser.run("document.querySelectorAll('main details').forEach(each => { each.open = true })")
        text = browser.text
        for words in (
            "Source nobody is down.",
            "proxy <script>alert(1)</script>",
            "/v1/chat-messages",
            "Support & care",
            "langgenius/openai/openai / gpt-4.1",
            "gateway.log | head -n 1",
            "shipped alerts can fire",
            "DifyServiceDown",
        ):
            assert words in text, words
        assert "CANARY" not in browser.run("return document.documentElement.outerHTML")
        assert browser.console() == []
        assert browser.requests() - {"data:,"} == {exporter.url + "/"}
        assert browser.violations() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
        background = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(15, 20, 27)") is (scheme == "dark")


def test_the_command_of_a_failure_prints_the_line_with_its_trace_id(exporter: Exporter) -> None:
    with chromium() as browser:
        browser.open(exporter.url + "/")
        rows = browser.run(
            "return [...document.querySelectorAll('[aria-label=\"Recent failures, table\"] tbody tr')]"
            ".map(row => [...row.querySelectorAll('th,td')].map(cell => cell.innerText))"
        )
        placed = [row for row in rows if row[3] != "–"]
        assert placed
        for row in placed:
            line = subprocess.run(["sh", "-c", row[4].splitlines()[0]], capture_output=True, timeout=10, check=True)
            assert row[3].encode() in line.stdout


def test_charts_appear_after_some_time(exporter: Exporter, folder: Path) -> None:
    """Every table is reachable by keyboard, and each chart has a label for screen readers."""
    with chromium() as browser:

        def charts() -> list[str]:
            with (folder / "nginx-dify-timed.log").open("a") as log:
                log.write((SAMPLES / "nginx-dify-timed.log").read_text())
            browser.open(exporter.url + "/")
            script = "return [...document.querySelectorAll('svg[role=img]')].map(e => e.getAttribute('aria-label'))"
            return list(browser.run(script))

        labels = until("two points and a chart between them", charts, deadline=60)
        assert any(label.startswith("Lines per second of nginx: now") for label in labels)
        unreachable = browser.run("return document.querySelectorAll('.scroll:not([tabindex=\"0\"])').length")
        assert unreachable == 0
