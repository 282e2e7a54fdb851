"""`dify-exporter replay` as an operator sees it."""

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from exporter.cli import main
from exporter.cli.options import limits
from exporter.replay import report
from exporter.replay.inputs import SAMPLE_BYTES
from exporter.replay.report import show
from tests.golden import ROOT, config, golden_file

SAMPLES = ROOT / "samples"
DIFY = str(SAMPLES / "nginx-dify.log")


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["replay", *arguments], input=given)


def found(*arguments: str, given: bytes | None = None) -> dict:
    result = run(*arguments, "--output", "json", given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_files_need_no_configuration_and_what_is_detected_is_said() -> None:
    result = run(DIFY, str(SAMPLES / "compose.log"), "--output", "json")
    assert set(json.loads(result.stdout)) == {"nginx", "dify"}
    errors = result.stderr.splitlines()
    assert errors[0] == f'{DIFY}: read as parser = "nginx", format = "dify"'
    assert f'{SAMPLES / "compose.log"}: read as parser = "dify", envelope = "compose"' in errors
    assert any(line.startswith('parser = "nginx", format = "dify": absent: this nginx format has') for line in errors)


def test_advice_is_given_once_and_not_where_another_log_helps() -> None:
    names = ("nginx-dify", "nginx-dify", "dify-worker", "dify-api-text")
    result = run(*(str(SAMPLES / f"{name}.log") for name in names), "--output", "json")
    absent = [line for line in result.stderr.splitlines() if "absent" in line]
    assert len(absent) == len(set(absent)) == 3
    assert "ENABLE_REQUEST_LOGGING" not in result.stderr
    assert "only a worker" not in result.stderr
    assert absent[-1].startswith('parser = "dify": absent: no tokens, no cost')


def test_advice_for_two_kinds_of_log_is_one_line() -> None:
    names = ("dify-worker", "cri-worker", "compose")
    result = run(*(str(SAMPLES / f"{name}.log") for name in names), "--output", "json")
    (line,) = (line for line in result.stderr.splitlines() if "no tokens" in line)
    assert line.startswith(
        'parser = "dify" and parser = "dify", envelope = "cri" and parser = "dify", envelope = "compose": '
    )


def test_what_cannot_be_read_is_skipped_and_the_rest_counts(tmp_path: Path) -> None:
    """Unknown lines, UTF-16, a missing file and the damaged end of a packed one: one sentence each, and exit code 2."""
    (tmp_path / "unknown.log").write_bytes(b"hello\nworld\n")
    (tmp_path / "utf16.log").write_bytes(Path(DIFY).read_text("latin-1").encode("utf-16"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(9999))[:-99])
    files = [str(tmp_path / name) for name in ("utf16.log", "unknown.log", "none.log", "cut.gz")]
    result = run(files[0], DIFY, *files[1:], "--output", "json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["nginx"] == found(DIFY)["nginx"]
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped: ")]
    assert [sentence.split(":")[1].strip() for sentence in skipped] == files
    assert "is UTF-16; only UTF-8 is read" in skipped[0]
    assert result.stderr.splitlines()[-1] == "4 skipped: the sentences above the result say why"


def test_a_source_without_a_file_is_skipped(tmp_path: Path) -> None:
    sources = "".join(
        f'[[source]]\nname = "{name}"\npaths = ["{path}"]\nparser = "nginx"\n'
        for name, path in (("a", "none"), ("b", DIFY))
    )
    (tmp_path / "x.toml").write_text(sources)
    result = run("--config", str(tmp_path / "x.toml"), "--output", "json")
    assert (result.exit_code, set(json.loads(result.stdout))) == (2, {"b"})
    assert f'skipped: source "a": no file matches {tmp_path / "none"}' in result.stderr.splitlines()


def test_nothing_that_can_be_read_is_no_result(tmp_path: Path) -> None:
    result = run(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "dify-exporter: no input could be read"


def test_json_lines_that_nobody_knows_name_the_option() -> None:
    result = run("-", given=b'{"a":1}\n' * 5)
    assert result.exit_code == 2
    assert "if nginx writes them, pass nginx's own log_format with --parser nginx --format '…'" in result.stderr


def test_the_first_and_the_last_time_are_shown() -> None:
    times = {"first": "2026-11-24T11:11:42Z", "last": "2026-11-24T11:11:46Z"}
    assert found(DIFY)["nginx"]["times"] == found(DIFY, "--since", "2026-11-24T11:11:46Z")["nginx"]["times"] == times
    assert "events from 2026-11-24T11:11:42Z to 2026-11-24T11:11:46Z" in run(DIFY).stdout.splitlines()
    assert "nginx: events from 2026-11-24T11:11:42Z to 2026-11-24T11:11:46Z" in run(DIFY, "--output", "metrics").stderr
    head = Path(DIFY).read_bytes().splitlines(True)
    several = found("-", DIFY, given=head[0].replace(b"24/Nov", b"23/Nov"))["nginx"]["times"]
    assert several == {"first": "2026-11-23T11:11:42Z", "last": "2026-11-24T11:11:46Z"}


@pytest.mark.parametrize("option", [("--since", "1s"), ("--until", "2000w"), ("--until", "2026-11-24")])
def test_a_span_that_holds_nothing_says_which_times_there_are(option: tuple[str, ...]) -> None:
    result = run(DIFY, *option)
    sentence = f"nginx: no event lies in the time of {option[0]}; in the log: events from 2026-11-24T11:11:42Z to 2026-11-24T11:11:46Z"
    assert sentence in result.stderr.splitlines()
    assert sentence not in run(DIFY, "--since", "2026-11-24T11:11:46Z").stderr
    timeless = b'127.0.0.1 "GET /v1/info HTTP/1.1" 200\n'
    options = ("--parser", "nginx", "--format", '$remote_addr "$request" $status')
    assert "no event has a time" in run("-", *options, "--output", "metrics", given=timeless).stderr


def test_times_in_the_future_name_the_time_zone(tmp_path: Path) -> None:
    local = datetime.now(UTC) + timedelta(hours=8)
    line = f"{local:%Y-%m-%d %H:%M:%S}.1 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 3.2 \n"
    (tmp_path / "server.log").write_text(line)
    result = run(str(tmp_path / "server.log"))
    assert 'the newest time is 8 hours ahead of the clock: set timezone = "Asia/Shanghai"' in result.stderr
    assert "ahead of the clock" not in run(DIFY).stderr
    old = b"".join(Path(SAMPLES / "dify-api-text.log").read_bytes() for _ in range(1 + SAMPLE_BYTES // 6000))
    (tmp_path / "server.log").write_bytes(old + line.encode())
    assert 'set timezone = "Asia/Shanghai"' in run(str(tmp_path / "server.log"), "--output", "json").stderr


def test_a_narrow_terminal_gets_rows_instead_of_columns() -> None:
    summary = found(str(SAMPLES / "dify-proxy.log"), str(SAMPLES / "dify-worker.log"))
    shown = {}
    for width in (60, 100):
        console = Console(width=width, file=StringIO())
        show(summary, console)
        shown[width] = console.file.getvalue().splitlines()
        assert max(map(len, shown[width])) <= width
    assert any("│" in line for line in shown[100])
    narrow = "\n".join(line.rstrip() for line in shown[60])
    assert "/v1/chat-messages  2xx\n  requests 24  p50 " in narrow
    assert "langgenius/openai/openai" in narrow
    assert "  input 3,731  output 1,381  cost 0.010312 USD" in narrow


def test_messages_stand_above_the_progress_bar(tmp_path: Path) -> None:
    """On a terminal every message begins on a line of its own."""
    logs = [Path(name) for name in (DIFY, SAMPLES / "dify-worker.log")]
    copies = [tmp_path / f"{number}.log" for number in range(6)]
    for number, copy in enumerate(copies):
        lines = logs[number % 2].read_bytes().splitlines(keepends=True)
        copy.write_bytes(b"".join(lines[number:]))
    command = [str(Path(sys.executable).with_name("dify-exporter")), "replay", *(copy.name for copy in copies)]
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm-256color"}
    ) as process:
        os.close(follower)
        output = b""
        with suppress(OSError):  # how Linux says that the other side is gone
            while block := os.read(leader, 65536):
                output += block
        os.close(leader)
        assert process.wait(60) == 0
    before = [line.rpartition(b"\r\x1b[2K")[2] for line in output.split(b"\n") if b": read as " in line]
    assert len(before) == 6
    assert all(re.match(rb"(?:\x1b\[[0-9;?]*[a-zA-Z])*[0-5]\.log: ", line) for line in before)


def test_a_named_parser_is_not_guessed() -> None:
    result = run(DIFY, "--parser", "nginx", "--format", "combined", "--envelope", "none", "--output", "json")
    assert json.loads(result.stdout)["nginx"]["lines"] == {"observed": 0, "ignored": 0, "unparsed": 41}
    assert (
        result.stderr
        == "nginx: no line fits the parser; `dify-exporter replay FILE` without other options detects it\n"
    )
    envelope = run(str(SAMPLES / "cri-worker.log"), "--parser", "dify", "--output", "json")
    assert envelope.stderr.startswith(f'{SAMPLES / "cri-worker.log"}: read as parser = "dify", envelope = "cri"\n')


def test_gzip_and_standard_input(tmp_path: Path) -> None:
    plain = Path(DIFY).read_bytes()
    packed = tmp_path / "access.log.3.gz"
    packed.write_bytes(gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]))
    assert found(str(packed)) == found("-", given=plain) == found("-", given=packed.read_bytes()) == found(DIFY)


def test_a_last_line_without_its_newline_counts() -> None:
    assert found("-", given=Path(DIFY).read_bytes().rstrip(b"\n")) == found(DIFY)


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ((), 41),
        (("--since", "2026-11-24T11:11:45Z"), 31),
        (("--until", "2026-11-24T11:11:45"), 10),
        (("--since", "2026-11-24T19:11:45+08:00", "--until", "2026-11-24T11:11:46Z"), 17),
        (("--since", "1s"), 0),
    ],
)
def test_since_and_until(options: tuple[str, ...], requests: int) -> None:
    """Half open: what is before the one and from the other on is not counted at all."""
    nginx = found(DIFY, *options)["nginx"]
    assert sum(row["requests"] for row in nginx["requests"]) == requests
    assert sum(nginx["lines"].values()) == requests


def test_a_traceback_goes_with_its_head() -> None:
    log = b"2026-11-23 08:53:08.1 ERROR [a] [x.py:1]  - old\nTraceback\n2026-11-23 08:53:09.1 ERROR [a] [x.py:1]  - new\nTraceback\n"
    dify = found("-", "--since", "2026-11-23T08:53:09Z", given=log)["dify"]
    assert dify["lines"] == {"observed": 1, "ignored": 1, "unparsed": 0}
    assert dify["errors"] == {"other": 1}


def test_the_configured_sources_are_read_and_give_their_goldens(tmp_path: Path) -> None:
    result = run("--config", str(ROOT / "exporter.toml"), "--output", "metrics")
    shown = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(result.stdout)
        for s in family.samples
    }
    for source in config().sources:
        for family in text_string_to_metric_families(golden_file(source).read_text()):
            for s in family.samples:
                if "source" in s.labels and s.name != "dify_active_requests":
                    assert shown[s.name, *sorted(s.labels.items())] == s.value


def test_tables_for_people() -> None:
    result = run(
        str(SAMPLES / "dify-proxy.log"),
        "-",
        given=b"2026-11-23 08:53:08.1 CANARY oops\n" * 3 + Path(SAMPLES / "dify-worker.log").read_bytes(),
    )
    assert result.exit_code == 0
    for text in (
        "91 lines: 69 observed, 19 ignored, 3 unparsed (format: 3)",
        "│ /v1/chat-messages │ 2xx    │       24 │ ",
        "│ /v1/chat-messages │ quota_exceeded │        1 │",
        "│ gpt-4.1       │ 3,731 │  1,381 │         │  0.010312 USD │",
        "dify: unparsed (format), for example: 0000-00-00 00:00:00.0 xxxxxx xxxx",
        "label sets per metric: dify_failed_requests_total has ",
    ):  # fmt: skip
        assert text in result.stdout
    assert re.search(r"│ node_failed +│ +1 │", result.stdout)
    assert "CANARY" not in result.output


def test_durations_without_a_status_are_in_tables_of_their_own() -> None:
    """The metric of handlers and those of runs and tasks have no status, so no row of a status shows their times."""
    worker = found(str(SAMPLES / "dify-worker.log"))["dify"]
    assert not any("p50" in row for section in ("runs", "tasks") for row in worker[section])
    [row] = [row for row in worker["task_durations"] if row["task"].endswith("workflow_based_app_execution_task")]
    assert row["count"] == 4
    assert row["p50"] == pytest.approx(6.2, rel=0.05)
    api = found(str(SAMPLES / "dify-api-text.log"))["dify"]
    assert not any("p50" in row for row in api["requests"])
    [row] = [row for row in api["handler_durations"] if row["route"] == "/v1/chat-messages"]
    assert row["count"] == 13


def test_requests_that_are_only_timed_are_shown_without_a_number(tmp_path: Path) -> None:
    """Their line is that of gevent-websocket. Other lines count the requests, if ENABLE_REQUEST_LOGGING is set."""
    head = "2026-11-23 08:53:05.123 INFO [Dummy-1] "
    timed = f'{head}[handler.py:242]  - ::1 - - [2026-11-23 08:53:05] "GET {{}} HTTP/1.1" 200 9 0.250000\n'
    counted = f"{head}[ext_request_logging.py:73] {'0a' * 16} - GET /v1/info 200 240.0 \n"
    (tmp_path / "x.log").write_text(timed.format("/v1/parameters") + counted + timed.format("/v1/info"))
    both, only_timed = found(str(tmp_path / "x.log"))["dify"]["requests"]
    assert (both["route"], both["requests"], both["p50"]) == ("/v1/info", 1, pytest.approx(0.25, rel=0.05))
    assert (only_timed["route"], only_timed["requests"]) == ("/v1/parameters", None)
    assert only_timed["p50"] == pytest.approx(0.25, rel=0.05)


def test_quantiles_of_three_requests_are_those_of_the_three(tmp_path: Path) -> None:
    line = (
        '172.18.0.1 - - [23/Nov/2026:08:53:10 +0000] "GET /v1/info HTTP/1.1" 200 1 "-" "x" "-" rt={} '
        'uct="0.000" uht="0.001" urt="{}" us="200"\n'
    )
    (tmp_path / "x.log").write_text("".join(line.format(time, time) for time in ("1.000", "2.000", "2.700")))
    [row] = found(str(tmp_path / "x.log"))["nginx"]["requests"]
    assert [row["p50"], row["p95"], row["p99"]] == pytest.approx([2.0, 2.7, 2.7], rel=0.05)
    shown = run(str(tmp_path / "x.log")).stdout
    assert "│ ≈ 1.92 s │ ≈ 2.71 s │ ≈ 2.71 s │" in shown


def test_what_the_caps_made_other_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[limits]\nseries_per_counter = 3\n")
    line = '127.0.0.1 - - [23/Nov/2026:08:53:10 +0000] "GET {} HTTP/1.1" 200 1 "-" "-" "-"\n'
    (tmp_path / "x.log").write_text(
        "".join(map(line.format, ("/v1/info", "/v1/meta", "/v1/site", "/v1/parameters", "/v1/site")))
    )
    result = run(str(tmp_path / "x.log"), "--config", str(tmp_path / "x.toml"))
    assert result.stdout.splitlines()[-1].endswith(
        "; above the caps of [limits], counted as other: 1 observations of dify_requests_total, "
        "1 observations of dify_response_bytes_total"
    )


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        (("none.log",), None, "none.log: cannot be read: No such file or directory"),
        (("/",), None, "/: is a folder, expected a log file; name the files in it, with a * if need be"),
        (("-",), gzip.compress(os.urandom(9999))[:-99], "-: cannot be read: Compressed file ended before the end-of-stream marker was reached"),
        (("-",), b"hello\nworld\n", "-: no known format matches any line at its beginning; name the parser with --parser, pass nginx's own log_format with --parser nginx --format '…', see docs/other-logs.md, or pass one line to `dify-exporter explain`"),
        (("x", "--parser", "ngnix"), None, '--parser: unknown parser "ngnix", did you mean "nginx"?'),
        (("x", "--parser", "nginx", "--format", "diffy"), None, '--parser nginx: format: unknown name "diffy", did you mean "dify"? If not, copy the log_format directive from nginx.conf'),
        (("x", "--envelope", "dockr"), None, '--envelope: unknown envelope "dockr", did you mean "docker"?'),
        (("x", "--format", "dify"), None, "--format describes a parser: name it with --parser"),
        (("x", "--parser", "dify", "--format", "dify"), None, "--format: the parser dify has one format only, leave it out"),
        (("x", "--parser", "regex"), None, "--parser regex: it needs options: write them into a [[source]] and replay it with --config"),
        (("--parser", "dify"), None, "--parser, --format and --envelope describe FILES, and no FILE is named"),
        (("x", "--since", "2026-11-24", "--until", "2026-11-23"), None, "--since must be before --until: this span of time is empty"),
        (("--config", "none.toml"), None, "none.toml: cannot be read: No such file or directory; name another file with --config, or let `dify-exporter init` write one"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence(arguments: tuple[str, ...], given: bytes | None, sentence: str) -> None:
    result = run(*arguments, given=given)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"dify-exporter: {sentence}\n")


def test_several_services_in_one_stream_are_said() -> None:
    lines = [
        (SAMPLES / f"{name}.log").read_text().splitlines() for name in ("dify-api-text", "dify-api-text", "nginx-dify")
    ]
    stream = "".join(
        f"{container:<9} | {line}\n"
        for container, log in zip(("api-1", "api-2", "nginx-1"), lines, strict=True)
        for line in log
    )
    result = run("-", "--output", "json", given=stream.encode())
    assert (
        "-: holds several services (api, nginx), and lines in other formats are ignored: use one log per service, such as "
        "that of `docker compose logs --no-color nginx`"
    ) in result.stderr.splitlines()
    alone = "".join(line for line in stream.splitlines(True) if line.startswith("api"))
    assert "several services" not in run("-", "--output", "json", given=alone.encode()).stderr


def test_an_empty_log_is_said_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x.log").touch()
    result = run(str(tmp_path / "x.log"), "--output", "json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "{}\n", f"{tmp_path / 'x.log'}: is empty\n")


@pytest.mark.system
def test_an_interrupt_shows_what_was_read_until_then() -> None:
    command = [str(Path(sys.executable).with_name("dify-exporter")), "replay", "-", "--output", "json"]
    lines = Path(DIFY).read_bytes() * 200
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it
    with subprocess.Popen(command, **pipes, preexec_fn=listens) as process:  # noqa: PLW1509
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines)
        process.stdin.flush()
        assert b"read as" in process.stderr.readline()
        process.stdin.write(lines)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        result = json.loads(process.stdout.read())
        assert process.stderr.read().splitlines()[-1] == b"interrupted: the result covers only what was read until then"
        assert process.wait(20) == 130
    assert set(result) <= {"nginx"}


@pytest.mark.system
def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    command = f"{Path(sys.executable).with_name('dify-exporter')} replay {DIFY} --output metrics | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in result.stderr


def test_values_that_were_not_understood_are_in_the_summary_and_no_sign_of_a_parser(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(
        b"2026-11-31 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /v1/info 200 1.5 \n" * 3
    )
    assert found(str(log))["dify"]["dropped_values"] == {"time": 3}
    result = run(str(log), "--since", "2026-01-01")
    assert "Dropped values" in result.stdout
    assert (
        "dify: time not understood and left out, 3 times; such a line is treated as the line before it; `dify-exporter explain` "
        "shows why" in result.stderr.splitlines()
    )
    assert "goes with" not in run(str(log)).stderr


@pytest.mark.parametrize(("ago", "seconds"), [("30s", 30), ("5m", 300), ("2h", 7200), ("3d", 259200), ("1w", 604800)])
def test_a_time_may_be_relative(ago: str, seconds: int) -> None:
    now = time.time_ns()
    moment, _ = limits(ago, None, UTC)
    assert moment is not None
    assert 0 <= moment - (now - seconds * 10**9) < 60 * 10**9


@pytest.mark.parametrize("text", ["1y", "w", "-1w", "1 w", "tomorrow", "1234567w"])
def test_what_is_no_time_says_what_would_be(text: str) -> None:
    result = run(DIFY, f"--since={text}")
    assert result.exit_code == 2
    assert f'or how long ago: 30m, 2h, 1w; found "{text}"' in " ".join(result.stderr.split())


def test_a_copy_counts_once_and_globs_are_expanded(tmp_path: Path) -> None:
    log = (SAMPLES / "nginx-dify.log").read_bytes()
    (tmp_path / "a.log").write_bytes(log)
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(log))
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 9)
    together = run(str(tmp_path / "a.*"), "--output", "json")
    assert together.exit_code == 2, "one input is no log"
    assert f"{tmp_path}/a.log.1.gz: is a copy of {tmp_path}/a.log and is counted once" in together.stderr
    alone = json.loads(run(str(tmp_path / "a.log"), "--output", "json").stdout)
    assert json.loads(together.stdout) == alone


def test_a_table_of_a_flood_of_labels_shows_the_largest_rows_only() -> None:
    rows = [{"task": f"t{number}", "status": "succeeded", "count": number} for number in range(1, 3001)]
    empty = dict.fromkeys((section for _, section, _ in report._TABLES), ())
    found = {"lines": {"observed": 1}, "unparsed": {}} | empty | {"tasks": rows}
    written = StringIO()
    show({"s": found}, Console(file=written, width=120))
    lines = written.getvalue().splitlines()
    assert sum(" succeeded " in line for line in lines) == 100
    assert "t3000" in written.getvalue()
    assert "t2900 " not in written.getvalue()
    assert lines[-1] == "and 2,900 more rows with smaller counts: --output json has all of them"
