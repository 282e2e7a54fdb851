"""D41: what is no file is refused in a clear sentence, at `check` and `serve`, and nobody waits for it."""

import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.exporter.reader import append
from tests.system.exporter import COMMAND, Exporter, serving
from tests.system.programs import find, running, until

_LINE = '127.0.0.1 - - [24/Nov/2026:10:00:00 +0000] "GET /v1/parameters HTTP/1.1" 200 12 "-" "curl" "-"\n'
_KINDS = {"fifo": "FIFO", "folder": "folder", "socket": "socket", "device": "device"}


@pytest.fixture
def folder(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/full")
    append(tmp_path / "good.log", _LINE)
    here = os.getcwd()
    os.chdir(tmp_path)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        os.chdir(here)
        yield tmp_path


def _source(name: str) -> str:
    return f'[[source]]\nname = "{name}"\npaths = ["{name}"]\nparser = "nginx"\nformat = "dify"\n'


def test_d41_serve_says_what_is_there_and_goes_on(folder: Path) -> None:
    config = "".join(map(_source, _KINDS)) + _source("good.log")
    with serving(folder, config, exporter_keys='start_at = "beginning"') as exporter:
        for name in _KINDS:
            line = exporter.process.said(f"source={name} ")
            assert str(folder / name) in line
            assert "not_a_file" in line
            assert "folders, FIFOs, sockets and devices are refused" in line
            assert exporter.value("dify_exporter_source_up", source=name) == 0
            assert exporter.value("dify_exporter_source_errors_total", source=name, reason="not_a_file") == 1
        assert exporter.value("dify_exporter_source_up", source="good.log") == 1
        assert exporter.value("dify_exporter_lines_total", source="good.log") == 1
        # A file in its place is read without a restart.
        (folder / "fifo").unlink()
        append(folder / "fifo", _LINE)
        until("the file to be read", lambda: exporter.value("dify_exporter_lines_total", source="fifo") == 1)
        assert exporter.value("dify_exporter_source_up", source="fifo") == 1


@pytest.mark.parametrize("name", _KINDS)
def test_d41_check_says_what_is_there(folder: Path, name: str) -> None:
    (folder / "exporter.toml").write_text(_source(name))
    done = subprocess.run([COMMAND, "check"], cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"is a {_KINDS[name]}" in done.stdout + done.stderr


@pytest.mark.privileged
def test_d44_without_any_inotify_instance_all_is_counted_within_a_poll(tmp_path: Path) -> None:
    """In a user namespace of its own, whose limit is 0."""
    namespace = [find("unshare"), "--user", "--map-root-user", "sh", "-c"]
    limit = "echo 0 > /proc/sys/user/max_inotify_instances"
    if subprocess.run([*namespace, limit], capture_output=True).returncode:
        pytest.skip("user namespaces are not allowed here")
    (tmp_path / "exporter.toml").write_text('[exporter]\nlisten = "127.0.0.1:0"\nstate = ""\n' + _source("access.log"))
    with running([*namespace, f"{limit}; exec {COMMAND} serve"], tmp_path) as process:
        exporter = Exporter(process)
        process.said("folders are polled, not watched")
        process.said("first pass done")
        for number in range(1, 4):
            append(tmp_path / "access.log", _LINE)
            until("the line", partial(_counted, exporter, number), 2)


def _counted(exporter: Exporter, lines: int) -> bool:
    return exporter.value("dify_exporter_lines_total", source="access.log") == lines


def test_more_files_than_the_shell_allows(tmp_path: Path) -> None:
    """A shell's soft limit is 1024 descriptors; here it is 64."""
    for number in range(200):
        append(tmp_path / f"{number}.log", _LINE)
    head = '[exporter]\nlisten = "127.0.0.1:0"\nstate = ""\nstart_at = "beginning"\n'
    (tmp_path / "exporter.toml").write_text(head + _source("*.log"))
    with running(["sh", "-c", f"ulimit -Sn 64; exec {COMMAND} serve"], tmp_path) as process:
        exporter = Exporter(process)
        process.said("first pass done")
        assert exporter.value("dify_exporter_lines_total", source="*.log") == 200
        assert exporter.value("dify_exporter_source_files", source="*.log") == 200


def test_a_crash_before_the_first_scrape_forgets_no_position(tmp_path: Path) -> None:
    """start_at = "end": what was written after the first start is read after the second."""
    append(tmp_path / "access.log", _LINE * 3)
    with serving(tmp_path, _source("access.log")) as exporter:
        os.kill(exporter.process.pid, signal.SIGKILL)
        append(tmp_path / "access.log", _LINE * 2)
    with serving(tmp_path, _source("access.log")) as exporter:
        assert exporter.value("dify_exporter_lines_total", source="access.log") == 2


def test_more_logs_than_files_may_be_open_stop_neither_scrapes_nor_commits(tmp_path: Path) -> None:
    for number in range(140):
        append(tmp_path / f"{number}.log", _LINE)
    keys = '[exporter]\nlisten = "127.0.0.1:0"\nstart_at = "beginning"\n'
    (tmp_path / "exporter.toml").write_text(keys + _source("*.log"))
    with running(["sh", "-c", f"ulimit -n 64; exec {COMMAND} serve"], tmp_path) as process:
        exporter = Exporter(process)
        assert "raise the limit on open files" in process.said("reason=too_many_files")
        process.said("first pass done")
        counted = exporter.value("dify_requests_total")
        assert 20 < counted == exporter.value("dify_exporter_source_files") < 64
        assert exporter.value("dify_exporter_source_up") == 0
        assert exporter.value("dify_exporter_checkpoint_errors_total") == 0
        for number in range(110):
            (tmp_path / f"{number}.log").unlink()
        until("the others to be read", lambda: exporter.value("dify_exporter_source_up") == 1)
    assert not any("Traceback" in line for line in process.lines)
