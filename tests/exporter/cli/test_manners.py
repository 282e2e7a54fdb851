"""What every command owes its caller: help with examples, exit codes, variables, quiet pipes."""

import errno
import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from exporter import __version__
from exporter.cli import main
from exporter.process.logs import LineFormatter
from tests.special_files import MAKE
from tests.system.exporter import COMMAND

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples/nginx-dify.log"
#: Like zh_CN.GBK, a locale in which UTF-8 is not what text files are read and written in.
ASCII_ONLY = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
COMMANDS = main.list_commands(click.Context(main))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_every_option_a_variable(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"  dify-exporter {command}" in result.output.split("Examples:")[1] or "| dify-exporter" in result.output
    assert result.output == CliRunner().invoke(main, [command, "-h"]).output


def test_version_and_wrong_use() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"dify-exporter {__version__}\n"
    for arguments in (["serv"], ["serve", "--nonsense"], ["replay", "--output", "xml"], ["check", "extra"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2


def test_check_wraps_its_sentences_between_words_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text('[[source]]\nname = "x"\npaths = ["/nowhere/x.log"]\nparser = "dify"\n')
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        main(["check", "--config", str(tmp_path / "x.toml")])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert (
        "  problem: /nowhere: No such file or directory" in lines
        or "  problem: /nowhere/x.log: no such file yet;" in " ".join(lines)
    )
    assert any(line.startswith("    ") for line in lines)
    assert max(len(line) for line in lines) <= 60


def test_check_names_few_of_the_sources_that_make_alerts_fire(tmp_path: Path) -> None:
    tables = [f'[[source]]\nname = "{name}"\npaths = ["{SAMPLE}"]\nparser = "nginx"\n' for name in "abcde"]
    for count, named in {3: "a, b, c", 4: "a, b, c, d", 5: "a, b, c and 2 more"}.items():
        (tmp_path / "exporter.toml").write_text("".join(tables[:count]))
        lines = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")]).output.splitlines()
        assert next(line for line in lines if ": DifyHighErrorRate" in line).startswith(f"  {named}: ")
        assert any(line.startswith("  no source needed: DifyExporterDown") for line in lines)


ACCESS = SAMPLE.read_text(errors="replace").splitlines(keepends=True)
INFO = ["2026-11-23 08:53:08.820 INFO [Dummy-1] [app.py:57] - started\n"]


@pytest.mark.parametrize(
    ("lines", "parser", "feeds"),
    [
        (ACCESS, "dify", False),
        (["no format\n"] * 300 + INFO, "dify", False),  # they are ignored, as a traceback is
        (["no format\n"] * 400 + ACCESS[:5], "nginx", False),
        (["no format\n"] * 60 + ACCESS, "nginx", True),
        (ACCESS, "nginx", True),
    ],
)
def test_check_says_that_a_misread_source_feeds_no_alert(
    tmp_path: Path, lines: list[str], parser: str, feeds: bool
) -> None:
    (tmp_path / "a.log").write_text("".join(lines))
    tables = [f'[[source]]\nname = "{name}"\npaths = ["a.log"]\nparser = "{parser}"\n' for name in "ab"]
    for count, sentence in {
        1: "  a: nearly no line fits the parser, so it feeds no alert until its format is right",
        2: "  a, b: nearly no line fits the parser, so they feed no alert until their format is right",
    }.items():
        (tmp_path / "exporter.toml").write_text("".join(tables[:count]))
        output = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")]).output
        assert (sentence in output.splitlines()) == (not feeds)
        assert any(line.startswith(("  a: Dify", "  a, b: Dify")) for line in output.splitlines()) == feeds


def test_check_finds_that_nothing_would_be_served(tmp_path: Path) -> None:
    (tmp_path / "exporter.toml").write_text("[exporter]\nlisten = '127.0.0.1:0'\n")
    for command, code in {"check": 1, "serve": 2}.items():
        result = CliRunner().invoke(main, [command, "--config", str(tmp_path / "exporter.toml")])
        assert result.exit_code == code
        assert "no [[source]] table, expected at least one" in result.output


LONG = "a" * 5000
UNUSABLE = {
    "log": ("[proxy]\nlog = 'NAME/x/y'\n", ("check", "proxy"), "[proxy] log: |problem: log: "),
    "receiver's log": ("[receive]\nlog = 'NAME/x'\n", ("check", "receive"), "[receive] log: |problem: log: "),
    "token": ("[receive]\ntoken_file = 'NAME/x'\n", ("check", "receive"), "token_file: "),
    "state": ("[exporter]\nstate = 'NAME/x'\n", ("check",), ""),
    "paths": ("[[source]]\nname = 'a'\npaths = ['NAME/*.log', 'NAME/x']\nparser = 'dify'\n", ("check",), "problem: "),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("name", [LONG, "exporter.toml", "loop", "forbidden"])
def test_a_file_that_cannot_exist_is_one_sentence(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    if name == "forbidden":
        forbid(tmp_path / name, monkeypatch)
    text, commands, beginning = UNUSABLE[kind]
    (tmp_path / "exporter.toml").write_text(text.replace("NAME", name))
    for command in commands:
        result = CliRunner().invoke(main, [command, "--config", str(tmp_path / "exporter.toml")])
        assert result.exit_code in (1, 2), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert any(each in result.output for each in beginning.split("|")), result.output


@pytest.mark.parametrize("name", [LONG, "exporter.toml/x", "loop", "forbidden/x"])
def test_init_says_why_it_cannot_write(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exporter.toml").touch()
    (tmp_path / "loop").symlink_to("loop")
    forbid(tmp_path / "forbidden", monkeypatch)
    result = CliRunner().invoke(main, ["init", "--config", str(tmp_path / name), "--root", str(tmp_path)])
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_init_names_a_usual_folder_that_may_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(tmp_path / "root/opt/dify", monkeypatch)
    (tmp_path / "root/app/logs/server.log").mkdir(parents=True)
    arguments = ["init", "--config", str(tmp_path / "exporter.toml"), "--root", str(tmp_path / "root")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    log = "/opt/dify/docker/volumes/logs/worker/server.log"
    assert f"left out: {log} (where this log usually is): {tmp_path}/root{log}: " in result.output
    assert "left out: /app/logs/server.log (where this log usually is): " in result.output
    assert "is a folder, expected a log file" in result.output


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `stat` fail below a folder, as for a user who may not search it. Root may search every folder."""
    stat = os.stat

    def forbidden(path: Any, *args: Any, **named: Any) -> os.stat_result:
        if isinstance(path, str | Path) and Path(path).is_relative_to(folder) and Path(path) != folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **named)

    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "stat", forbidden)


def test_a_files_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    """Whoever may write a log may name it; nobody's terminal obeys that name, and it stays on its line."""
    named = "a\x1b[31m\n\x9b31m\u202e.log"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / named).write_bytes(SAMPLE.read_bytes())
    (tmp_path / "exporter.toml").write_text('[[source]]\nname = "a"\npaths = ["logs/*"]\nparser = "nginx"\n')
    checked = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")], color=True)
    replayed = CliRunner().invoke(main, ["replay", str(tmp_path / "logs" / named)], color=True)
    refused = CliRunner().invoke(main, ["replay", str(tmp_path / named)], color=True)
    for text in (checked.output, replayed.stderr, refused.stderr):
        assert "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}31m" in text
        assert not set(text) & set("\x1b\x9b\u202e")
    shown = LineFormatter("logfmt").format(
        logging.makeLogRecord({"msg": f"path={named}", "levelname": "INFO", "name": "x"})
    )
    assert shown.isprintable()


def test_variables_stand_for_options(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[nonsense]\n")
    result = CliRunner().invoke(main, ["check"], env={"DIFY_EXPORTER_CONFIG": str(tmp_path / "other.toml")})
    assert result.exit_code == 2
    assert "other.toml: unknown table" in result.stderr
    result = CliRunner().invoke(main, ["replay", str(SAMPLE)], env={"DIFY_EXPORTER_REPLAY_OUTPUT": "json"})
    assert json.loads(result.stdout)


@pytest.mark.system
def test_standard_input_and_no_colours_into_a_pipe() -> None:
    environment = {**os.environ, "FORCE_COLOR": ""}
    result = subprocess.run(
        [COMMAND, "replay", "-"], input=SAMPLE.read_bytes(), capture_output=True, timeout=60, env=environment
    )
    assert result.returncode == 0
    assert b"\x1b[" not in result.stdout + result.stderr
    assert b"/v1/chat-messages" in result.stdout


@pytest.mark.system
def test_no_color_is_obeyed_on_a_terminal() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
    process = subprocess.Popen([COMMAND, "replay", str(SAMPLE)], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # how Linux says that the other side is gone
            break
        output += block
        if not block:
            break
    os.close(leader)
    assert process.wait(30) == 0
    assert b"/v1/chat-messages" in output
    # Cursor movements of the progress bar and bold are no colours: SGR 30–38, 40–48, 90–107 are.
    colours = [*range(30, 39), *range(40, 49), *range(90, 108)]
    assert not any(b"\x1b[%d" % colour in output for colour in colours)


def test_an_interrupted_command_ends_with_one_sentence_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("exporter.cli.check.load_or_stop", interrupted)
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.output) == (130, "dify-exporter: interrupted: there is no result\n")


def test_a_command_whose_reader_has_exited_ends_quietly_with_141(tmp_path: Path) -> None:
    """Whether the output is written at once or flushed at the end."""
    for arguments in (["explain", "--help"], ["backfill", str(SAMPLE), "--output", "-", "--step", "1"]):
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run([COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
        os.close(writer)
        assert ended.returncode == 141
        assert b"Traceback" not in ended.stderr
        assert b"dify-exporter:" not in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.system
def test_completion(shell: str) -> None:
    environment = {**os.environ, "_DIFY_EXPORTER_COMPLETE": f"{shell}_source"}
    result = subprocess.run([COMMAND], capture_output=True, text=True, timeout=30, env=environment)
    assert "_DIFY_EXPORTER_COMPLETE" in result.stdout


def test_log_lines_as_logfmt_or_json() -> None:
    record = logging.LogRecord("exporter.x", logging.WARNING, "", 0, 'a "path" is %s', ("broken\nin two",), None)
    record.created = 1_790_000_000.5
    shown = LineFormatter("logfmt").format(record)
    assert shown == (
        'ts=2026-09-21T14:13:20.500+00:00 level=warning logger=exporter.x msg="a \\"path\\" is broken\\nin two"'
    )
    assert json.loads(LineFormatter("json").format(record)) == {
        "ts": "2026-09-21T14:13:20.500+00:00", "level": "warning", "logger": "exporter.x",
        "msg": 'a "path" is broken\nin two',
    }  # fmt: skip


@pytest.mark.system
def test_files_are_utf_8_whatever_the_locale_is(tmp_path: Path) -> None:
    (tmp_path / "var/log/nginx").mkdir(parents=True)
    (tmp_path / "var/log/nginx/access.log").touch()
    config = tmp_path / "überwacht"
    config.mkdir()
    arguments = [COMMAND, "init", "--config", config / "exporter.toml", "--root", tmp_path]
    result = subprocess.run(arguments, capture_output=True, timeout=60, env=ASCII_ONLY)
    assert result.returncode == 0, result.stderr


@pytest.mark.system
def test_what_the_locale_cannot_write_ends_no_replay(tmp_path: Path) -> None:
    config = tmp_path / "exporter.toml"
    table = f'[[source]]\nname = "nginx 日志"\npaths = ["{SAMPLE}"]\nparser = "nginx"\n'
    config.write_text(table, "utf-8")
    for output in ("table", "metrics", "json"):
        arguments = [COMMAND, "replay", "--config", config, "--output", output]
        result = subprocess.run(arguments, capture_output=True, timeout=60, env=ASCII_ONLY)
        assert result.returncode == 0, result.stderr
        assert ('source="nginx 日志"'.encode() in result.stdout) == (output == "metrics")


@pytest.mark.parametrize(
    ("log", "verdict"),
    [("nginx-dify.log", ""), ("gateway.log", "2 problems found: see the lines that begin with `problem:`")],
)
def test_check_does_not_call_a_file_valid_and_find_problems_in_it(tmp_path: Path, log: str, verdict: str) -> None:
    """The verdict on the configuration file is separate from the findings about its logs."""
    (tmp_path / "exporter.toml").write_text(
        f'[[source]]\nname = "a"\npaths = ["{ROOT / "samples" / log}"]\nparser = "nginx"\n'
    )
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "exporter.toml")])
    first, *lines = result.output.splitlines()
    assert first.endswith("exporter.toml: every key and value is valid; the findings about its logs follow")
    assert sum(line.startswith("  problem: ") for line in lines) == (2 if verdict else 0)
    assert (result.exit_code, lines[-1] if verdict else "") == (1 if verdict else 0, verdict)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("command", ["serve", "check", "proxy"])
def test_a_configuration_that_is_no_file_is_refused(tmp_path: Path, kind: str, command: str) -> None:
    path = tmp_path / "exporter.toml"
    MAKE[kind](path)
    result = CliRunner().invoke(main, [command, "--config", str(path)])
    assert result.exit_code == 2
    assert kind in result.output or "is a directory" in result.output


def test_a_configuration_may_be_a_stream_of_the_shell(tmp_path: Path) -> None:
    script = f"{COMMAND} serve --config <(echo '[exporter]')"
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert "no [[source]] table" in result.stderr
