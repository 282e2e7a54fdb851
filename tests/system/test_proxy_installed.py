"""The proxy from a package, as pipx would install it: with its extra, then with a part of that missing."""

import subprocess
import sys
from pathlib import Path

from tests.system.programs import running
from tests.system.proxy import Proxy

ROOT = Path(__file__).parents[2]


def test_the_extra_brings_all_that_the_proxy_needs(tmp_path: Path) -> None:
    binaries = tmp_path / "venv/bin"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([binaries / "pip", "install", "--quiet", "--no-compile", f"{ROOT}[proxy]"], check=True)
    (tmp_path / "proxy.toml").write_text('[proxy]\nlisten = "127.0.0.1:0"\nlog = "proxy.log"\n')
    command = [str(binaries / "dify-exporter"), "proxy", "--config", str(tmp_path / "proxy.toml")]
    with running(command, tmp_path) as process:
        proxy = Proxy(process, tmp_path / "proxy.log")
        assert proxy.raw(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(b"ok\n")
    subprocess.run([binaries / "pip", "uninstall", "--quiet", "--yes", "h11"], check=True)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "install dify-exporter[proxy]" in result.stderr
