"""Signals in the first moments of a program, while it still imports: they are not lost, and print no traceback."""

import signal
import sys
from pathlib import Path

import pytest

from tests.system.exporter import COMMAND, Exporter
from tests.system.programs import running, until

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


TABLES = {"proxy": 'upstream = "http://127.0.0.1:9"\n', "receive": ""}


@pytest.mark.parametrize("moment", ["cmdline", "maps"], ids=["begun", "importing gevent"])
@pytest.mark.parametrize("table", TABLES)
def test_an_early_interrupt_leaves_no_traceback(tmp_path: Path, table: str, moment: str) -> None:
    (tmp_path / "exporter.toml").write_text(f'[{table}]\nlisten = "127.0.0.1:0"\nlog = "its.log"\n{TABLES[table]}')
    with running([COMMAND, table], tmp_path) as process:
        wanted = {"cmdline": "exporter.wsgi", "maps": "gevent"}[moment].encode()
        until(f"{table} to replace its process", lambda: wanted in Path(f"/proc/{process.pid}/{moment}").read_bytes())
        process.send(signal.SIGINT)
        assert process.ended() in (-signal.SIGINT, 0)
    assert process.lines == [] or "Listening at" in "\n".join(process.lines)


#: The master is stopped, and sends its own signal to the worker, before the worker has a handler for it.
JUST_FORKED = """
import os, signal, sys, time
from pathlib import Path
from exporter.config import wsgi
from exporter.{table}.server import Master

def stop_master(arbiter, _):
    os.kill(arbiter.pid, {number})
    while not signal.sigpending() and arbiter.SIG_QUEUE.empty():
        time.sleep(0.01)

settings = wsgi.{settings}(listen="127.0.0.1:0", log=str(Path("its.log").absolute()))
master = Master(settings{further})
master.cfg.set("post_fork", stop_master)
master.run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("table", TABLES)
def test_a_worker_hears_a_signal_that_comes_just_after_its_fork(
    tmp_path: Path, table: str, number: signal.Signals
) -> None:
    settings, further = {"proxy": ("ProxyConfig", ", ()"), "receive": ("ReceiveConfig", "")}[table]
    script = JUST_FORKED.format(table=table, number=int(number), settings=settings, further=further)
    with running([sys.executable, "-c", script], tmp_path) as process:
        process.said("Worker exiting")  # without this line the master has killed it, after its grace of 30 s
        assert process.ended() == 0
