"""Six laws for every registered parser, in every built-in format and envelope, on its own samples and on noise."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from parsers.batch import Batch, Failure
from parsers.envelope import ENVELOPES
from parsers.lines import by_line
from parsers.parser import Parser, registered
from tests.parsers.hostile import CUTS, LOGS, NOISE, SAMPLE_LINES, WHOLE
from tests.parsers.laws import check_bounded, check_every_cut, check_laws, check_linear

PATTERN = r"^(?P<method>\S+) (?P<path>\S+) (?P<status_code>\d{3}) (?P<duration>[\d.]+)$"
REQUIRED = {"regex": {"pattern": PATTERN}}


def every_parser() -> Iterator[Parser]:
    for name, parser in registered().items():
        for options in parser.guesses or ({},):
            plain = parser(**REQUIRED.get(name, {}), **options)
            yield plain
            yield from (envelope(parser=plain) for envelope in ENVELOPES.values())


PARSERS = list(every_parser())


def _in_fast_half(number: int) -> bool:
    """Return whether the fast half tries this parser: each one alone and in one envelope, the next one in another
    envelope. The other pairs consist of the same code, so they are left to the whole suite.
    """
    parser, envelope = divmod(number, 1 + len(ENVELOPES))
    return envelope in (0, 1 + parser % len(ENVELOPES))


_SLOW = pytest.mark.system
every = pytest.mark.parametrize(
    "parser",
    [pytest.param(p, marks=() if _in_fast_half(number) else _SLOW) for number, p in enumerate(PARSERS)],
    ids=repr,
)


@every
@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(log=LOGS, cuts=CUTS)
def test_total_cut_proof_complete_and_stateless(parser: Parser, log: bytes, cuts: list[int]) -> None:
    check_laws(parser, log, cuts)


@every
def test_cut_proof_at_every_byte(parser: Parser) -> None:
    chance = random.Random(7)
    lines = chance.sample([line for line in SAMPLE_LINES + WHOLE if len(line) < 300], 6)
    check_every_cut(parser, b"".join(lines) + b"the last line, unended")


@every
def test_no_bytes_give_an_empty_batch(parser: Parser) -> None:
    assert parser.parse(b"") == parser.parse(b"", final=True) == Batch()


@every
def test_linear_on_hostile_lines(parser: Parser) -> None:
    chance = random.Random(7)
    for noise in NOISE:
        line = chance.choice(SAMPLE_LINES).rstrip(b"\n")[:1000]
        cut = chance.randrange(len(line) + 1)
        check_linear(parser, line[:cut], noise, chance.choice([b"", line[cut:]]))


@every
def test_linear_and_bounded_on_many_lines(parser: Parser) -> None:
    check_linear(parser, b"", b"\n", b"")
    check_linear(parser, b"", random.Random(7).choice(SAMPLE_LINES), b"")
    for log in (b"\n" * 20_000, b"x" * 20_000, b"".join(SAMPLE_LINES)[:20_000]):
        check_bounded(parser, log)


class Wrong(Parser, frozen=True):
    """A parser of lines with one of the faults that the laws must detect."""

    fault: str

    def parse(self, window: bytes, final: bool = False) -> Batch:
        batch = by_line(window, final, lambda line: ((), 1) if line.startswith(b"a") else "format")
        return FAULTS[self.fault](self, window, batch)


MEMORY: list[bytes] = []


def _raises(_: Wrong, window: bytes, batch: Batch) -> Batch:
    return batch if window.isascii() else Batch(consumed=int(window))


def _counts(_: Wrong, window: bytes, batch: Batch) -> Batch:
    return Batch(batch.consumed, batch.lines, records=(Failure("other"),) if b"a" in window else ())


def _forgets(_: Wrong, window: bytes, batch: Batch) -> Batch:
    return Batch(batch.consumed, max(0, batch.lines - 1), batch.ignored, batch.unparsed, batch.examples)


def _swallows(_: Wrong, window: bytes, batch: Batch) -> Batch:
    return Batch(len(window), batch.lines, batch.ignored, batch.unparsed, batch.examples)


def _remembers(parser: Wrong, window: bytes, batch: Batch) -> Batch:
    vars(parser)["seen"] = vars(parser).get("seen", 0) + 1
    return batch


def _crawls(_: Wrong, window: bytes, batch: Batch) -> Batch:
    for begin in range(len(window)):
        sum(window[begin:] * 3)  # found at the first of the three lengths: the third would take half a minute
    return batch


def _hoards(_: Wrong, window: bytes, batch: Batch) -> Batch:
    MEMORY.append(bytes(len(window) + 2000))
    return batch


def _gorges(_: Wrong, window: bytes, batch: Batch) -> Batch:
    assert bytes(200 * len(window)) is not None
    return batch


FAULTS: dict[str, Any] = {
    "none": lambda parser, window, batch: batch,
    "total": _raises,
    "cut-proof": _counts,
    "cut-proof, by bytes": _swallows,
    "complete": _forgets,
    "stateless": _remembers,
    "linear": _crawls,
    "bounded, kept": _hoards,
    "bounded, at once": _gorges,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_law_detects_its_fault(fault: str) -> None:
    """Each law fails for a parser that breaks it."""

    def break_the_law() -> None:
        parser = Wrong(fault=fault)
        check_laws(parser, b"a\nb\n\xff\na", [1, 3, 4])
        check_every_cut(parser, b"a\nb\na")
        check_linear(parser, b"", b"x", b"", most=0.1)
        check_bounded(parser, b"x\n" * 10_000)

    begun = time.process_time()
    if fault == "none":
        break_the_law()
    else:
        with pytest.raises((AssertionError, ValueError)):
            break_the_law()
    assert time.process_time() - begun < 60
