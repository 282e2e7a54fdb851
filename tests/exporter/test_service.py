"""The service in this process: its life cycle, without a signal or a command line."""

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from exporter.config.loader import load
from exporter.persistence.checkpoint import Checkpoint
from exporter.service import Service

_SCRAPES = 8


def test_scrapes_at_the_same_time_end_the_first_pass_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All scrapes find the first pass done, because other threads run during the commit that ends it."""
    log, file = tmp_path / "access.log", tmp_path / "exporter.toml"
    log.write_bytes(b"")
    source = f'[[source]]\nname = "nginx"\npaths = ["{log}"]\nparser = "nginx"\nformat = "combined"\n'
    file.write_text(f'[exporter]\nlisten = "127.0.0.1:0"\n{source}')
    service, together = Service(load(file), file), Barrier(_SCRAPES)

    def is_ready() -> bool:
        together.wait(10.0)
        return service.ready()

    with caplog.at_level(logging.INFO, "exporter.service"):
        service.listen()
        try:
            service.restore(Checkpoint(tmp_path / "state"))
            service.start()
            with ThreadPoolExecutor(_SCRAPES) as pool:
                while not all(pool.map(lambda _: is_ready(), range(_SCRAPES))):  # until first_pass_timeout at most
                    pass
        finally:
            service.stop()
    assert [record.message for record in caplog.records].count("first pass done") == 1


@pytest.mark.parametrize(
    ("method", "file", "sentence"),
    [
        ("restore", "/a/file", "[exporter] state: cannot be used at /a/file"),
        ("restore", None, "[exporter] state: cannot be used at {folder}/.dify-exporter/state"),
        ("start", "/a/file", "serve cannot go on: /a/file"),
        ("ready", None, "serve cannot go on"),
    ],
)
def test_only_an_error_of_the_state_is_called_so(tmp_path: Path, method: str, file: str | None, sentence: str) -> None:
    (tmp_path / "exporter.toml").write_text(
        '[exporter]\nlisten = "127.0.0.1:0"\n[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "nginx"\n'
    )
    failing = (
        "from exporter.__main__ import main\nfrom exporter.service import Service\n"
        f"def fail(*_): raise OSError(24, 'Too many open files', {file!r})\nService.{method} = fail\nmain()\n"
    )
    command = [sys.executable, "-c", failing, "serve"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    expected = f"dify-exporter: exporter.toml: {sentence.format(folder=tmp_path)}: Too many open files"
    assert (result.returncode, result.stderr.splitlines()[-1]) == (2, expected)
