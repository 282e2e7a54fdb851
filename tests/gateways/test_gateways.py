"""Logs that real gateways wrote: each is recognised, and counts what was sent; the documentation's blocks read them."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.config.loader import load
from exporter.replay.detect import detect, guesses
from exporter.replay.gateways import GATEWAYS
from parsers.batch import Batch, Request
from parsers.parser import Parser, registered
from tests.golden import ROOT
from tests.parsers.laws import check_laws

HERE = Path(__file__).parent
SECOND = 1_000_000_000

#: What was sent to each program (README.md), by route and status.
SENT = Counter(
    {
        ("/v1/info", "200"): 8,
        ("/v1/chat-messages", "200"): 3,
        ("/v1/chat-messages", "400"): 1,
        ("other", "404"): 1,
        ("/v1/conversations", "500"): 1,
        ("/v1/messages", "502"): 1,
        ("/v1/meta", "504"): 1,
        ("/v1/files/upload", "201"): 1,
        ("/socket.io/", "101"): 1,
    }
)
#: A request in garbage, and one with a blank in its path.
GARBAGE, INVALID = {("unknown", "400"): 2}, {("invalid", "400"): 2}
#: These refuse a user name with a quote in it.
REFUSED_USER = {("/v1/info", "200"): -1, ("/v1/info", "400"): 1}
#: These refuse a path with bytes above 127.
REFUSED_PATH = {("/v1/info", "200"): -1, ("unknown", "400"): 1}
#: The status where Dify closed the connection before its response, and where it took too long.
CLOSED = {("/v1/messages", "502"): -1, ("/v1/messages", "503"): 1}
TOO_LONG = {("/v1/meta", "504"): -1, ("/v1/meta", "502"): 1}
WEBSOCKET = {("/socket.io/", "101"): -1, ("/socket.io/", "unknown"): 1}

#: By file: the gateway, how its requests differ from SENT, and how many lines of its own the program wrote.
LOGS: dict[str, tuple[str, list[dict[tuple[str, str], int]], int]] = {
    "nginx-proxy-manager": ("Nginx Proxy Manager", [INVALID, REFUSED_USER], 0),
    "nginx-proxy-manager-standard": ("Nginx Proxy Manager, standard", [INVALID, REFUSED_USER], 0),
    "apisix": ("APISIX", [INVALID, REFUSED_USER], 0),
    "kong": ("", [INVALID, REFUSED_USER], 0),
    "traefik": ("Traefik", [WEBSOCKET], 21),
    "traefik-json": ("Traefik, JSON", [WEBSOCKET], 13),
    "caddy": ("Caddy", [], 35),
    "caddy-console": ("Caddy, console", [], 22),
    "envoy": ("Envoy", [GARBAGE, REFUSED_PATH, CLOSED], 6),
    "istio": ("Envoy", [GARBAGE, REFUSED_PATH, CLOSED], 0),
    "istio-json": ("Envoy, JSON", [GARBAGE, REFUSED_PATH, CLOSED], 0),
    "higress": ("Envoy, JSON", [GARBAGE, REFUSED_PATH, CLOSED], 0),
    "envoy-gateway": ("Envoy, JSON", [GARBAGE, REFUSED_PATH, CLOSED], 0),
    "haproxy": ("HAProxy", [GARBAGE, REFUSED_PATH], 0),
    "haproxy-https": ("HAProxy", [GARBAGE, REFUSED_PATH], 0),
    "apache": ("Apache httpd", [GARBAGE, TOO_LONG], 11),
    "apache-vhost": ("", [INVALID, TOO_LONG], 0),
}
WITHOUT_DURATIONS = {"nginx-proxy-manager", "nginx-proxy-manager-standard", "kong", "apache-vhost"}


def blocks() -> Iterator[dict[str, str]]:
    """The sources of the documentation's section about gateways."""
    text = (ROOT / "docs/other-logs.md").read_text()
    section = re.search(r"(?s)\n## Gateways.*?\n## ", text)
    assert section is not None
    for block in re.findall(r"(?s)```toml\n(.*?)```", section[0]):
        yield from tomllib.loads(block)["source"]


def counted(batch: Batch) -> Counter[tuple[str, str]]:
    requests = [record for record in batch.records if isinstance(record, Request)]
    assert len(requests) == len(batch.records), "a value was not understood"
    return sum((Counter({(each.route, each.status_code): each.count}) for each in requests), Counter())


@pytest.mark.parametrize("name", LOGS)
def test_a_gateways_log_is_recognised_and_counts_what_was_sent(name: str) -> None:
    gateway, differences, ignored = LOGS[name]
    found = detect((HERE / f"{name}.log").read_bytes(), guesses())
    assert found is not None
    guess, batch = found
    if gateway:
        assert (guess.name, guess.options) == GATEWAYS[gateway]
    expected = Counter(SENT)
    for difference in differences:
        expected.update(difference)
    assert counted(batch) == +expected
    assert (batch.unparsed, batch.ignored) == ({}, ignored)
    durations = [duration for each in batch.records if isinstance(each, Request) for duration in each.durations]
    assert len(durations) == (0 if name in WITHOUT_DURATIONS else batch.observed)
    assert not durations or 4 * SECOND < sum(durations) < 6 * SECOND
    assert batch.last_at is not None
    check_laws(guess.parser, (HERE / f"{name}.log").read_bytes()[:4000], [400, 1200])


@pytest.mark.parametrize("name", [name for name in LOGS if LOGS[name][0]])
@pytest.mark.parametrize("envelope", ["docker", "cri", "compose", "syslog"])
def test_it_is_recognised_in_the_output_of_a_container(name: str, envelope: str) -> None:
    lines = (HERE / f"{name}.log").read_text(errors="replace").removesuffix("\n").split("\n")
    wrapped = {
        "docker": [json.dumps({"log": line + "\n", "stream": "stdout"}) for line in lines],
        "cri": ["2026-12-01T10:24:34.1Z stdout F " + line for line in lines],
        "compose": ["gateway-1  | " + line for line in lines],
        "syslog": ["Dec  1 10:24:34 web1 gateway[7]: " + line for line in lines],
    }[envelope]
    found = detect("".join(line + "\n" for line in wrapped).encode(), guesses())
    assert found is not None
    assert (found[0].name, found[0].options, found[0].envelope) == (*GATEWAYS[LOGS[name][0]], envelope)
    assert (found[1].observed, found[1].ignored, found[1].unparsed) == (len(lines) - LOGS[name][2], LOGS[name][2], {})


@pytest.mark.parametrize(
    ("gateway", "line"),
    [
        ("Traefik", 'time="2026-12-01T10:22:40Z" level=info msg="Configuration loaded from flags."'),  # version 2
        ("Envoy", '2026-12-01T10:24:34.598332Z\tinfo\tFLAG: --concurrency="0"'),  # Istio's pilot-agent
        ("HAProxy", "127.0.0.1:44600 [01/Dec/2026:10:33:41.777] dify/1: SSL handshake failure"),
        ("HAProxy", 'Server dify/dead is DOWN, reason: Layer4 connection problem, info: "Connection refused"'),
    ],
)
def test_other_messages_of_a_program_are_ignored(gateway: str, line: str) -> None:
    parser, options = GATEWAYS[gateway]
    batch = registered(parser)[parser](**options).parse(f"{line}\n".encode())
    assert (batch.observed, batch.ignored, batch.unparsed) == (0, 1, {})


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_access_line_that_is_cut_is_not_ignored(gateway: str) -> None:
    """Only what the pattern knows as a message is ignored: half an access line is `unparsed`."""
    parser, options = GATEWAYS[gateway]
    file = next(
        (name for name, (known, *_) in LOGS.items() if known == gateway), {"A": "aws-alb"}.get(gateway[0], "cloudflare")
    )
    built = registered(parser)[parser](**options)
    lines = (HERE / f"{file}.log").read_bytes().splitlines()
    line = next(line for line in lines if built.parse(line + b"\n").observed)
    batch = built.parse(line[: len(line) // 4] + b"\n")
    assert (batch.observed, batch.ignored, batch.unparsed) == (0, 0, {"format": 1})


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        (
            "aws-alb",
            {("/v1/info", "200"): 1, ("/v1/messages", "200"): 1, ("/v1/conversations", "502"): 1, ("other", "400"): 1},
        ),
        ("cloudflare", {("/v1/chat-messages", "200"): 1, ("/v1/info", "522"): 1}),
    ],
)
def test_the_examples_of_cloud_providers(name: str, requests: dict[tuple[str, str], int]) -> None:
    found = detect((HERE / f"{name}.log").read_bytes(), guesses())
    assert found is not None
    assert counted(found[1]) == requests
    assert found[1].unparsed == {}


def test_the_documentation_has_a_block_for_each_gateway() -> None:
    """`detect` and the documentation say the same. Durations in seconds are the default, so no block has that unit."""
    documented = [{"duration_unit": "s", **each} if each["parser"] == "regex" else each for each in blocks()]
    for name, (parser, options) in GATEWAYS.items():
        assert any({"parser": parser, **options}.items() <= block.items() for block in documented), name


def test_each_log_is_read_by_a_documented_block() -> None:
    keys = ("format", "pattern", "duration_unit", "time_format")
    parsers: list[Parser] = [
        registered(each["parser"])[each["parser"]](**{key: each[key] for key in keys if key in each})
        for each in blocks()
    ]
    for name in [*LOGS, "aws-alb", "cloudflare"]:
        log = (HERE / f"{name}.log").read_bytes()
        if name != "apache-vhost":
            assert any(b.observed > 1 and not b.unparsed for b in (p.parse(log, final=True) for p in parsers)), name


def test_init_writes_a_source_that_check_takes(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    config = str(tmp_path / "exporter.toml")
    files = [str(HERE / f"{name}.log") for name in LOGS]
    result = CliRunner().invoke(main, ["init", "--config", config, "--root", str(tmp_path / "root"), *files])
    assert result.exit_code == 0, result.output
    assert {source.name for source in load(Path(config)).sources} == {*LOGS}
    result = CliRunner().invoke(main, ["check", "--config", config])
    assert result.exit_code == 0, result.output
    assert result.stdout.count(" 0 unparsed; yields requests") == len(LOGS)


def test_a_format_that_stops_early_says_so() -> None:
    """nginx with a log_format of one's own: its requests are counted, and what to do for its durations is one sentence."""
    line = b'10.0.0.1 - - [24/Nov/2026:11:11:42 +0000] "GET /v1/info HTTP/1.1" 200 905 "-" "x" 0.125 0.124\n'
    found = detect(line, guesses())
    assert found is not None
    assert counted(found[1]) == {("/v1/info", "200"): 1}
    (advice,) = found[0].parser.advice(found[1])
    assert "copy the whole log_format from nginx.conf" in advice.sentence


def test_no_header_of_a_client_becomes_part_of_a_format() -> None:
    """A JSON line with an array is not turned into a log_format: Caddy's headers are in arrays."""
    line = '{"ts":1.5,"uri":"/v1/info","method":"GET","headers":{"Authorization":["Bearer CANARY"]},"status":200}\n'
    assert detect(line.encode(), guesses()) is None
