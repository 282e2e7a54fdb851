"""The references say what is true of the code, no more and no less."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement

from exporter.cli import main
from tests.references import DOCUMENTS, MEANINGS, TABLES, keys

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_the_documents_are_those_of_the_code(file: Path) -> None:
    assert file.read_text() == DOCUMENTS[file](), "run `make docs`"


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in main.list_commands(click.Context(main)) if f"| `dify-exporter {name}" not in readme] == []


@pytest.mark.parametrize("table", TABLES)
def test_every_key_has_a_meaning_and_every_meaning_a_key(table: str) -> None:
    assert MEANINGS[table].keys() == {field.encode_name for field in keys(table)}


def test_the_lock_has_what_the_package_needs() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {Requirement(line.rstrip("\\ ")).name: line for line in lines if line and line[0] not in " #"}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = needed["project"], needed["dependency-groups"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    wanted += [Requirement(text) for name in ("proxy", "receive") for text in project["optional-dependencies"][name]]
    # In CI the tests' tools come on top of the lock: they must not replace what it holds.
    tools = map(Requirement, (tool for group in groups.values() for tool in group if isinstance(tool, str)))
    wanted += [tool for tool in tools if tool.name.lower() in locked]
    for requirement in wanted:
        line = Requirement(locked[requirement.name.lower()].rstrip("\\ "))
        version = str(line.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"run `make lock`: {requirement} is locked at {version}"
    assert all("--hash=sha256:" in line for line in lines if line.startswith("    --"))
    assert requires("dify-exporter")


def test_the_release_trusts_no_name_that_can_move() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each)] == []
    assert "secrets." not in text
