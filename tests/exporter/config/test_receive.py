"""`[receive]`: its problems are reported before the receiver starts; check and init know it."""

import socket
from pathlib import Path

import pytest

from exporter.config.loader import load
from tests.exporter.config.test_proxy import problem, run

WRONG = {
    "no address": ("listen = '4318'", "listen must be host:port"),
    "a negative size": ("log_max_bytes = -1", "log_max_bytes: expected an integer"),
    "no backups": ("log_backups = 0", "log_backups: expected an integer"),
    "another key": ("token = 'CANARY'", 'unknown key "token", did you mean "token_file"?'),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_one_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = WRONG[name]
    assert sentence in problem(tmp_path, "receive", text)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "is empty, expected a token"),
        (b"CANARY two\n", "holds no token, expected printable ASCII characters"),
        (b"CANARY\xff", "holds no token, expected printable ASCII characters"),
    ],
)
def test_the_command_reports_why_it_cannot_start(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    code, output = run("receive", tmp_path, "[receive]\nlog = 'folder'\ntoken_file = 'token'\n")
    assert (code, output.count("\n")) == (2, 2)
    assert f"[receive] log: {tmp_path}/folder is a folder, expected a file" in output
    assert f"[receive] token_file: {tmp_path}/token {sentence}" in output
    assert "CANARY" not in output


def test_the_command_reports_a_port_that_is_taken_and_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, output = run("receive", tmp_path, f"[receive]\nlisten = '127.0.0.1:{taken.getsockname()[1]}'\n")
        assert (code, output.count("\n")) == (2, 1)
        assert "[receive] listen: cannot listen on 127.0.0.1:" in output
        assert "Address already in use; set a free port and an address of this machine" in output
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gevent" else name)
    code, output = run("receive", tmp_path, "")
    assert (code, output) == (
        2,
        "dify-exporter: the receiver needs gunicorn and gevent: install dify-exporter[receive]\n",
    )


def test_check_examines_a_configured_receiver(tmp_path: Path) -> None:
    assert "\nreceiver\n" not in run("check", tmp_path, "")[1]
    table = "[receive]\nlisten = '0.0.0.0:4318'\nnative = true\n"
    code, output = run("check", tmp_path, table)
    assert code == 1
    assert f"listens on 0.0.0.0:4318, and writes {tmp_path}/logs/receive.log" in output
    assert f"problem: no [[source]] reads {tmp_path}/logs/receive.log" in output
    assert "everybody who reaches 0.0.0.0:4318 may send: set a token_file" in output
    assert "OTEL_SAMPLING_RATE=1.0" in output
    assert not (tmp_path / "logs").exists()
    (tmp_path / "token").write_text("secret")
    source = "[[source]]\nname = 'receive'\npaths = ['logs/receive.log']\nparser = 'dify'\n"
    output = run("check", tmp_path, f"{table}token_file = 'token'\n{source}")[1]
    assert "no [[source]]" not in output
    assert "everybody" not in output


def test_init_offers_it_as_comments_that_are_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "docs/receiver.md" in run_init(tmp_path)
    text = (tmp_path / "exporter.toml").read_text()
    tables = text.partition("# [receive]")
    offered = "\n".join(line[2:] for line in (tables[1] + tables[2]).splitlines())
    (tmp_path / "offered.toml").write_text(offered)
    config = load(tmp_path / "offered.toml")
    assert [source.paths for source in config.sources] == [(str(tmp_path / config.receive.log),)]


def run_init(folder: Path) -> str:
    from click.testing import CliRunner

    from exporter.cli import main

    arguments = ["init", "--config", str(folder / "exporter.toml"), "--root", str(folder / "empty")]
    return CliRunner().invoke(main, arguments).output
