"""Signals in the first moments of `serve`, while it still imports: a rolling update or a reload does not wait for it."""

import signal
import sys
from pathlib import Path

import pytest

from tests.system.exporter import Exporter
from tests.system.programs import running

CONFIG = '[exporter]\nlisten = "127.0.0.1:0"\n[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "nginx"\n'


@pytest.mark.parametrize("imported", ["click", "exporter.config.settings", "exporter.service"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_is_heard_however_early(number: signal.Signals, imported: str, tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text(CONFIG)
    (tmp_path / "a.log").touch()
    with running([sys.executable, "-X", "importtime", "-m", "exporter", "serve"], tmp_path) as process:
        process.said(f" {imported}")  # the interpreter's own line, at this very moment
        process.send(number)
        if number == signal.SIGHUP:
            process.said("the configuration is reloaded")
            assert Exporter(process).value("dify_exporter_config_last_reload_successful") == 1
        else:
            assert process.ended() == 0
            assert not any("Traceback" in line for line in process.lines)
