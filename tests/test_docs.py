"""docs/ against the rules and against itself: every alert has its runbook, every link leads somewhere."""

import re
import tomllib

import pytest

from tests.promql import names
from tests.reader_commands import VARIANTS, blocks
from tests.rules import ROOT, exposed, rules

DOCS = ROOT / "docs"
ALERTS = sorted({rule.name for rule in rules() if rule.alerts})
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def chinese(alert: str) -> str:
    found = re.search(rf"(?ms)^## {alert}\n(.*?)(?=^## |\Z)", (DOCS / "zh/runbooks.md").read_text())
    assert found is not None, f"docs/zh/runbooks.md has no section {alert}"
    return found[1]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_its_runbook_in_english_and_chinese(alert: str) -> None:
    text = (DOCS / f"runbooks/{alert}.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        f"# {alert}", "## What it means", "## Three commands", "## What fixed it",
    ]  # fmt: skip
    (lines,) = blocks(text)
    assert len(lines) == 3
    assert list(blocks(chinese(alert))) == [lines]
    assert text.count("```console") == len(VARIANTS), "a command outside of the block works for one reader only"
    links = {rule.table["annotations"]["runbook_url"] for rule in rules() if rule.name == alert}
    assert {link.partition("/blob/main/")[2] for link in links} == {f"docs/runbooks/{alert}.md"}


def test_no_runbook_asks_a_port_that_dify_does_not_publish() -> None:
    pages = [*(DOCS / "runbooks").glob("*.md"), DOCS / "zh/runbooks.md"]
    assert [page.name for page in pages if "127.0.0.1:5001" in page.read_text()] == []


def test_no_runbook_is_without_its_alert() -> None:
    assert {path.stem for path in (DOCS / "runbooks").glob("*.md")} == set(ALERTS)


def test_queries_name_only_what_exists() -> None:
    known = (
        exposed().keys()
        | {rule.name for rule in rules()}
        | {"process_cpu_seconds_total", "prometheus_tsdb_head_series"}
    )
    for page in PAGES:
        for query in re.findall(r"promtool query instant \S+ '([^']*)'", page.read_text()):
            selectors = names(query.replace("({job=", "(up{job=")).selectors
            assert {selector.metric for selector in selectors} <= known, (page.name, query)


def test_the_example_configuration_has_a_documented_pattern_for_the_audit_line() -> None:
    (audit,) = (s for s in tomllib.loads((ROOT / "exporter.toml").read_text())["source"] if s["name"] == "audit")
    assert f"pattern = '{audit['pattern']}'\n" in (ROOT / "docs/other-logs.md").read_text()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"(?s)```.*?```", "", page.read_text())
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)


def test_the_rooms_that_develop_names_are_there() -> None:
    table = re.search(r"(?s)\| room \|.*?\n\n", (DOCS / "develop.md").read_text())
    assert table is not None
    for name in re.findall(r"`([\w/.]+)`", table[0]):
        places = [ROOT / name, ROOT / "exporter" / name, ROOT / "parsers" / name]
        assert any(place.exists() or place.with_suffix(".py").is_file() for place in places), name


def test_what_develop_says_where_to_find_is_there() -> None:
    table = re.search(r"(?s)## Where is it\?.*?\n\n\|.*?\n\n", (DOCS / "develop.md").read_text())
    assert table is not None
    modules = re.findall(r"`([\w./]+/[\w./]+)`(?: \(`([\w.]+)`)?", table[0])
    assert len(modules) > 40
    for name, inside in modules:
        places = [base / name for base in (ROOT, ROOT / "exporter", ROOT / "parsers")]
        files = [file for place in places for file in (place, place.with_suffix(".py"), place / "__init__.py")]
        found = next((file for file in files if file.is_file()), None)
        assert found is not None, name
        for word in filter(None, inside.split(".")):
            assert re.search(rf"\b(?:def|class|import) (?:.*\b)?{word}\b", found.read_text()), (name, inside)


def test_what_the_docs_call_a_file_of_ours_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"(?:`|…/)((?:deploy|rules|grafana)/[\w./-]+)", page.read_text()):
            made_by_the_reader = name in {"deploy/.env", "deploy/secrets"}
            assert made_by_the_reader or (ROOT / name).exists(), f"{page.name}: {name}"
