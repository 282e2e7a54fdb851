"""`[proxy]`: its problems are reported before the proxy starts."""

import errno
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.config.loader import ConfigError, load

UUID = "770e8400-1f2d-4c3b-9a4e-0123456789ab"
WRONG = {
    "a path in the upstream": ("upstream = 'http://api:5001/v1'", "upstream must have no path"),
    "a password in the upstream": ("upstream = 'http://a:b@api'", "upstream must be http://host:port"),
    "a password in a wrong upstream": ("upstream = 'ftp://a:CANARY@api:1/x'", "upstream must be http://host:port"),
    "a password in no URL": ("upstream = 'a:CANARY@api'", "upstream must be http://host:port"),
    "a password with a slash": ("upstream = 'http://a:b/CANARY@api'", "upstream must be http://host:port"),
    "a port that is none": ("upstream = 'http://api:99999'", "upstream must be http://host:port"),
    "another scheme": ("upstream = 'unix:/run/api.sock'", "upstream must be http://host:port"),
    "a key instead of its digest": (f"apps = {{ app-CANARY = '{UUID}' }}", "expected the SHA-256 of an API key"),
    "an app that is no id": (f"apps = {{ {'a' * 64} = 'support' }}", "expected an app id"),
    "a key instead of an app": (f"apps = {{ {'a' * 64} = 'app-CANARY' }}", "expected an app id"),
    "no address": ("listen = '8877'", "listen must be host:port"),
}


def problem(folder: Path, table: str, text: str) -> str:
    """The only problem of a configuration with this table, which repeats no secret."""
    file = folder / "exporter.toml"
    file.write_text(f"[{table}]\n{text}\n")
    with pytest.raises(ConfigError) as refusal:
        load(file)
    (found,) = refusal.value.problems
    assert "CANARY" not in found
    return found


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_one_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = WRONG[name]
    assert sentence in problem(tmp_path, "proxy", text)


def run(command: str, folder: Path, text: str) -> tuple[int, str]:
    file = folder / "exporter.toml"
    file.write_text(text)
    result = CliRunner().invoke(main, [command, "--config", str(file)])
    return result.exit_code, result.output


def test_check_examines_a_configured_proxy(tmp_path: Path) -> None:
    assert "\nproxy\n" not in run("check", tmp_path, "")[1]
    code, output = run("check", tmp_path, "[proxy]\nworkers = 2\nupstream_ca = 'ca.pem'\n")
    assert code == 1
    assert (
        f"listens on 127.0.0.1:8877, forwards to http://127.0.0.1:5001, and writes {tmp_path}/logs/proxy.log" in output
    )
    assert f"problem: upstream_ca: no CA bundle at {tmp_path}/ca.pem" in output
    assert f"problem: no [[source]] reads {tmp_path}/logs/proxy.log" in output
    assert not (tmp_path / "logs").exists()
    source = "[[source]]\nname = 'proxy'\npaths = ['logs/*.log']\nparser = 'dify'\n"
    assert "no [[source]]" not in run("check", tmp_path, f"[proxy]\nworkers = 2\n{source}")[1]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "disk full")


def test_the_command_reports_why_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    code, output = run("proxy", tmp_path, "[proxy]\nlog = 'folder'\nupstream_ca = 'ca.pem'\n")
    assert (code, output.count("\n")) == (2, 2)
    assert f"[proxy] log: {tmp_path}/folder is a folder, expected a file" in output
    monkeypatch.setattr("pathlib.Path.mkdir", full_disk)
    assert run("proxy", tmp_path, "")[1].endswith(
        f"[proxy] log: cannot be written at {tmp_path}/logs/proxy.log: disk full\n"
    )
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, output = run("proxy", tmp_path, f"[proxy]\nlisten = '127.0.0.1:{taken.getsockname()[1]}'\n")
        assert (code, output.count("\n")) == (2, 1)
        assert "listen: cannot listen on 127.0.0.1:" in output
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "h11" else name)
    code, output = run("proxy", tmp_path, "")
    assert (code, output) == (
        2,
        "dify-exporter: the proxy needs gunicorn, gevent and h11: install dify-exporter[proxy]\n",
    )
