"""Six laws for every registered parser, in every built-in format and envelope, on its own samples and on noise."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import Batch
from parsers.envelope import ENVELOPES
from parsers.parser import Parser, registered
from tests.golden import ROOT
from tests.parsers.laws import check_laws

PATTERN = r"^(?P<method>\S+) (?P<path>\S+) (?P<status_code>\d{3}) (?P<duration>[\d.]+)$"
REQUIRED = {"regex": {"pattern": PATTERN}}


def every_parser() -> Iterator[Parser]:
    for name, parser in registered().items():
        for options in parser.guesses or ({},):
            plain = parser(**REQUIRED.get(name, {}), **options)
            yield plain
            yield from (envelope(parser=plain) for envelope in ENVELOPES.values())


PARSERS = list(every_parser())
SAMPLE_LINES = sorted({line for f in (ROOT / "samples").glob("*.log") for line in f.read_bytes().splitlines(True)})
HOSTILE = [
    b"\n",
    b"\r\n",
    b"\x00" * 50,
    b"\xff\xfe\n",
    b'{"log":"a\\nb\\n","stream":"stdout"}\n',
    b'{"ts":"2026-11-23T08:53:31.404Z","message":"\\ud800"}\n',
    b"[" * 3000 + b"\n",
    b'{"a":' * 1200 + b"\n",
    b'"' * 300 + b"\n",
    b"2026-11-23 08:53:08.820 INFO [Dummy-1] [ext_request_logging.py:73]  - GET /a\x85\xe2\x80\xa8b 200 1 \n",
]
LINES = st.sampled_from(SAMPLE_LINES) | st.sampled_from(HOSTILE) | st.binary(max_size=60)
LOGS = st.lists(LINES, max_size=10).map(b"".join)
CUTS = st.lists(st.integers(0, 4000), max_size=6)


@pytest.mark.parametrize("parser", PARSERS, ids=repr)
@settings(max_examples=40, deadline=None)
@given(log=LOGS, cuts=CUTS)
def test_total_cut_proof_complete_and_stateless(parser: Parser, log: bytes, cuts: list[int]) -> None:
    check_laws(parser, log, cuts)


@pytest.mark.parametrize("parser", PARSERS, ids=repr)
def test_nothing_becomes_nothing(parser: Parser) -> None:
    assert parser.parse(b"") == parser.parse(b"", final=True) == Batch()


NOISE = [
    b'"',
    b" ",
    b"\\",
    b"[",
    b"{",
    b"-",
    b"a",
    b"\x1b[",
    b": ",
    b"/a",
    b", ",
    b"0",
    b'\\"',
    b"=",
    b"|",
    b"\t",
]


@pytest.mark.parametrize("parser", PARSERS, ids=repr)
def test_linear_on_hostile_input(parser: Parser) -> None:
    """A quadratic parser would need minutes for these lines of 64 kB behind every beginning it knows."""
    beginnings = [b"", *(line[:cut].rstrip(b"\n") for line in SAMPLE_LINES[::40] for cut in (20, 60, len(line) // 2))]
    begun = time.process_time()
    for noise in NOISE:
        for beginning in beginnings[:: max(1, len(beginnings) // 12)]:
            line = beginning + noise * (65_536 // len(noise)) + b"\n"
            assert parser.parse(line).lines == 1
    assert time.process_time() - begun < 60
