"""The package as pipx would install it, with its extras and with a parser from a package of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.programs import running
from tests.system.proxy import Proxy

ROOT = Path(__file__).parents[2]


def pip(venv: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), *arguments, "--quiet"]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One environment for all tests here, because a build and an installation take longest."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip(folder, "install", "--no-compile", str(ROOT), str(Path(__file__).with_name("third_party")))
    return folder


def test_a_parser_of_another_package_is_used_by_name(venv: Path, tmp_path: Path) -> None:
    (tmp_path / "pipes.log").write_text("GET|/v1/info|200\nPOST|/v1/chat-messages|502\nnonsense\n")
    (tmp_path / "exporter.toml").write_text(
        '[[source]]\nname = "pipes"\npaths = ["pipes.log"]\nparser = "pipes"\nseparator = "|"\n'
    )
    result = subprocess.run(
        [venv / "bin/dify-exporter", "replay", "--output", "json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)["pipes"]
    assert found["lines"] == {"observed": 2, "ignored": 0, "unparsed": 1}
    assert {(row["route"], row["status"]) for row in found["requests"]} == {
        ("/v1/info", "2xx"),
        ("/v1/chat-messages", "5xx"),
    }


@pytest.mark.parametrize(("command", "needed"), [("proxy", "h11"), ("receive", "gevent")])
def test_the_extra_brings_all_that_is_needed(venv: Path, tmp_path: Path, command: str, needed: str) -> None:
    """Each extra is installed without the other one. If a package of it is missing, the command names the extra."""
    pip(venv, "install", "--no-compile", f"dify-exporter[{command}]")
    (tmp_path / "exporter.toml").write_text(f'[{command}]\nlisten = "127.0.0.1:0"\nlog = "its.log"\n')
    arguments = [str(venv / "bin/dify-exporter"), command, "--config", str(tmp_path / "exporter.toml")]
    with running(arguments, tmp_path) as process:
        found = Proxy(process, tmp_path / "its.log")
        assert found.raw(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(b"ok\n")
    pip(venv, "uninstall", "--yes", needed)
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"install dify-exporter[{command}]" in result.stderr
    pip(venv, "uninstall", "--yes", "gunicorn", "gevent")
