"""The clients that Dify uses, each in a virtual environment of its own, because their versions exclude each other.

The modules beside this file run in those environments: they import nothing of ours.
"""

import fcntl
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
_FOLDER = HERE.parents[2] / ".clients"

#: What Dify 1.14 pins (api/pyproject.toml, providers/trace/trace-langfuse), and the newest of the first.
PACKAGES = {
    "otel-1.41": "opentelemetry-exporter-otlp-proto-http==1.41.1",
    "otel": "opentelemetry-exporter-otlp-proto-http>=1.45",
    "langfuse": "langfuse==4.2.0",
}


def python(name: str) -> str:
    """The interpreter of a client's environment. Without it the test is skipped."""
    path = _FOLDER / name
    if not (path / "ready").exists():
        try:
            _install(name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{PACKAGES[name]} cannot be installed: {error.stderr[-300:]!r}")
    return str(path / "bin/python")


def _install(name: str) -> None:
    path = _FOLDER / name
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "ready").exists():
            run = {"check": True, "capture_output": True, "text": True}
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], **run)
            pip = [sys.executable, "-m", "pip", "--python", path / "bin/python", "install", "--quiet", "--no-compile"]
            subprocess.run([*pip, PACKAGES[name]], **run)
            (path / "ready").touch()


def install_all() -> None:
    """Install every client. Those that cannot be installed are left to their tests, which say so."""
    with ThreadPoolExecutor() as pool:
        for installed in [pool.submit(_install, name) for name in PACKAGES]:
            with suppress(subprocess.CalledProcessError):
                installed.result()


class Client:
    """A running client. It sends until everything is acknowledged, and prints its bookkeeping as JSON."""

    def __init__(self, name: str, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python(name), str(HERE / script), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def books(self, deadline: float = 100) -> dict[str, Any]:
        """Waits for its end and returns its bookkeeping."""
        try:
            text, _ = self._process.communicate(timeout=deadline)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        found: dict[str, Any] = json.loads(text)
        return found
