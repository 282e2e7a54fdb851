"""Ctrl-C while the proxy or the receiver imports its packages: it ends at once, without a traceback."""

import signal
from pathlib import Path

import pytest

from tests.system.exporter import COMMAND
from tests.system.programs import running, until

pytestmark = pytest.mark.system

TABLES = {"proxy": 'upstream = "http://127.0.0.1:9"\n', "receive": ""}


@pytest.mark.parametrize("moment", ["cmdline", "maps"], ids=["begun", "importing gevent"])
@pytest.mark.parametrize("table", TABLES)
def test_an_early_interrupt_leaves_no_traceback(tmp_path: Path, table: str, moment: str) -> None:
    (tmp_path / "exporter.toml").write_text(f'[{table}]\nlisten = "127.0.0.1:0"\nlog = "its.log"\n{TABLES[table]}')
    with running([COMMAND, table], tmp_path) as process:
        wanted = {"cmdline": f"exporter.{table}", "maps": "gevent"}[moment].encode()
        until(f"{table} to replace its process", lambda: wanted in Path(f"/proc/{process.pid}/{moment}").read_bytes())
        process.send(signal.SIGINT)
        assert process.ended() in (-signal.SIGINT, 0)
    assert process.lines == [] or "Listening at" in "\n".join(process.lines)
