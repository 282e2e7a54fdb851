"""`dify-exporter explain` as an operator sees it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main

ACCESS = "2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - POST /v1/chat-messages 504 251.066 "
CONFIG = '[[source]]\nname = "mine"\npaths = ["x"]\nparser = "regex"\npattern = "^m (?P<status_code>[0-9]{3}) (?P<path>.*)$"\n[routes]\nextra = ["/gateway/{tenant}"]\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], input=given)


def test_a_line_its_fields_and_the_series_it_increases() -> None:
    assert run(ACCESS).stdout.splitlines() == [
        'read by parser = "dify"',
        "event time 2026-11-23T08:53:08.820+00:00",
        "",
        "Request",
        "  method = POST",
        "  route = /v1/chat-messages",
        "  status_code = 504",
        "  failure = timeout",
        "  count = 1",
        "  handler_durations = 0.251066 s",
        "",
        "increases",
        '  dify_requests_total{method="POST",route="/v1/chat-messages",status_code="504"} by 1',
        '  dify_failed_requests_total{route="/v1/chat-messages",reason="timeout"} by 1',
        '  dify_exporter_lines_total{outcome="observed"} by 1',
        "  dify_exporter_read_bytes_total by 105",
        '  dify_handler_duration_seconds{method="POST",route="/v1/chat-messages"} by 1 observation, sum 0.251066 s',
    ]


def test_standard_input_in_an_envelope() -> None:
    result = run(given=b'{"log":"%s\\n","stream":"stdout"}\n' % ACCESS.encode())
    assert result.exit_code == 0
    assert result.stdout.startswith('read by parser = "dify", envelope = "docker"\n')


def test_the_configured_sources_come_first(elsewhere: Path) -> None:
    (elsewhere / "exporter.toml").write_text(CONFIG)
    result = run("m 200 /gateway/acme?CANARY")
    assert result.stdout.startswith('read by source "mine" (regex)\n')
    assert "  route = /gateway/{tenant}\n" in result.stdout
    assert "CANARY" not in result.output
    assert run(ACCESS).stdout.startswith('read by parser = "dify"\n')
    assert 'route="/gateway/{tenant}"' in run(ACCESS.replace("/v1/chat-messages", "/gateway/x")).stdout


def test_a_line_without_anything_that_is_counted() -> None:
    result = run("2026-11-23 08:53:08.820 INFO [Dummy-1] [x.py:73]  - hello")
    assert result.exit_code == 0
    assert "\nthis line contains nothing that is counted\n" in result.stdout
    assert '  dify_exporter_lines_total{outcome="observed"} by 1\n' in result.stdout


@pytest.mark.parametrize(
    ("line", "nearest", "broken"),
    [
        (
            '1.2.3.4 - CANARY [24/Nov/2026:11:11:42 +0000] "GET /CANARY HTTP/1.1" oops',
            'parser = "nginx", format = "dify-timed"',
            "oops",
        ),
        ('{"ts":"2026-11-23T08:53:31.404Z","message":7} !', 'parser = "dify"', "!"),
        ('{"log":"2026-11-23 08:53:31.404 INFO oops\\n"}', 'parser = "dify", envelope = "docker"', 'oops\\n"}'),
        ("api-1  | [GIN] 2025/07/17 - 07:35:41 | oops", 'parser = "plugin-daemon", envelope = "compose"', "| oops"),
        ("2026-05-21T03:08:03Z INFO dify-plugin-daemon oops", 'parser = "plugin-daemon"', "oops"),
        ("x" * 300 + ' - - [24/Nov/2026:11:11:42 +0000] "G / HTTP/1.1" oops', 'parser = "nginx", format = "dify-timed"', "oops"),
    ],
)  # fmt: skip
def test_a_line_that_no_parser_takes_shows_where_it_stops_matching(line: str, nearest: str, broken: str) -> None:
    result = run(line)
    assert result.exit_code == 1
    column = line.index(broken)
    first, second, shown, caret = result.stdout.splitlines()
    assert (first, second) == (
        "no parser reads this line",
        f"nearest: {nearest}; the line stops matching at column {column + 1}:",
    )
    begin = max(0, column - 100)
    assert caret.index("^") == 2 + column - begin
    assert len(shown) == 2 + min(len(line) - begin, 161)
    assert "oops" not in shown
    assert "CANARY" not in result.output


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "  File", "\x00\x01", "hello"])
def test_a_line_that_matches_no_format(line: str) -> None:
    result = run(line)
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        [
            "no parser reads this line",
            "its beginning matches no known format; in a log of Dify, such a line continues the record before it",
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        ((), b"", "no line to explain: give it as an argument or on standard input"),
        (("",), None, "no line to explain: give it as an argument or on standard input"),
        (
            ("--config", "none.toml", "x"),
            None,
            "none.toml: cannot be read: No such file or directory; name another file with --config, or let `dify-exporter init` write one",
        ),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], given: bytes | None, sentence: str) -> None:
    result = run(*arguments, given=given)
    assert (result.exit_code, result.stderr) == (2, f"dify-exporter: {sentence}\n")
