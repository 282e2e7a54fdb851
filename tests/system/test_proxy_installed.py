"""The proxy and the receiver from a package, as pipx would install them: with their extra, then with a part of it missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.programs import running
from tests.system.proxy import Proxy

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("command", "extra", "needed"), [("proxy", "proxy", "h11"), ("receive", "receive", "gevent")])
def test_the_extra_brings_all_that_is_needed(tmp_path: Path, command: str, extra: str, needed: str) -> None:
    binaries = tmp_path / "venv/bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", f"{ROOT}[{extra}]"], check=True)
    (tmp_path / "exporter.toml").write_text(f'[{command}]\nlisten = "127.0.0.1:0"\nlog = "its.log"\n')
    arguments = [str(binaries / "dify-exporter"), command, "--config", str(tmp_path / "exporter.toml")]
    with running(arguments, tmp_path) as process:
        found = Proxy(process, tmp_path / "its.log")
        assert found.raw(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(b"ok\n")
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", needed], check=True)
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"install dify-exporter[{extra}]" in result.stderr
