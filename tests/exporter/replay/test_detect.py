"""Which parser a log is written for: every sample, in every envelope, and what nobody knows."""

import json
from pathlib import Path

import pytest

from exporter.replay.detect import Guess, detect, guesses, nearest
from exporter.tail.source_config import SourceConfig
from parsers.envelope import Envelope
from parsers.regex import Regex
from tests.golden import config

SOURCES = {source.name: source for source in config().sources}
#: Formats that nobody can guess: of a user's own making.
OWN = {"nginx-json", "gateway", "audit"}


@pytest.mark.parametrize("source", [s for s in SOURCES.values() if s.name not in OWN], ids=lambda source: source.name)
def test_a_samples_parser_is_found(source: SourceConfig) -> None:
    found = detect(Path(source.paths[0]).read_bytes(), guesses())
    assert found is not None
    assert found[0].parser == source.parser


@pytest.mark.parametrize("name", [n for n, s in SOURCES.items() if n not in OWN and not isinstance(s.parser, Envelope)])
@pytest.mark.parametrize("envelope", ["docker", "cri", "compose"])
def test_an_envelope_is_found_around_any_format(name: str, envelope: str) -> None:
    wrap = {
        "docker": lambda line: json.dumps({"log": line.decode("utf-8", "replace") + "\n"}).encode(),
        "cri": lambda line: b"2026-11-23T08:53:08Z stdout F " + line,
        "compose": lambda line: b"api-1  | " + line,
    }[envelope]
    lines = Path(SOURCES[name].paths[0]).read_bytes().splitlines()[:60]
    found = detect(b"".join(wrap(line) + b"\n" for line in lines), guesses())
    assert found is not None
    assert (found[0].envelope, found[0].parser.parser) == (envelope, SOURCES[name].parser)


def test_an_ingress_is_found() -> None:
    line = (
        b'10.0.0.1 - - [24/Nov/2026:11:11:42 +0000] "GET /v1/info HTTP/1.1" 200 905 "-" "x" 300 3.500 [dify-api-5001] [] '
        b"10.244.1.17:5001, 10.244.2.9:5001 0, 905 0.000, 3.499 502, 200 4f0c\n"
    )
    found = detect(line, guesses())
    assert found is not None
    assert str(found[0]) == 'parser = "nginx", format = "ingress-nginx"'


@pytest.mark.parametrize("sample", [b"", b"\n\n", b"hello\n", b"\x00\xff" * 500, b"a,b,c\n1,2,3\n", b"{}\n[]\n"])
def test_what_nobody_takes_is_not_guessed(sample: bytes) -> None:
    assert detect(sample, guesses()) is None


def test_the_nearest_is_the_one_that_a_line_follows_furthest() -> None:
    line = b'1.2.3.4 - - [24/Nov/2026:11:11:42 +0000] "GET / HTTP/1.1" 200 oops'
    guess, column = nearest(line, guesses())
    assert (guess.name, line[column:]) == ("nginx", b"oops")


def test_a_value_that_is_not_understood_speaks_for_no_parser() -> None:
    """The pattern of the first source takes both values and understands neither."""
    vague = Guess(Regex(pattern=r"(?P<time>\S+) (?P<bytes>\S+)"), "regex", source="vague")
    exact = Guess(Regex(pattern=r"^(?P<method>GET) (?P<path>\S+)$"), "regex", source="exact")
    found = detect(b"GET /v1/info\n", iter([exact, vague]))
    assert found is not None
    assert found[0] is exact
    assert [type(record).__name__ for record in vague.parser.parse(b"GET /v1/info\n").records].count(
        "DroppedValue"
    ) == 2
