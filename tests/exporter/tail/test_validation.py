"""A batch is validated on each source's own thread."""

import subprocess
import sys
from decimal import Decimal

import pytest

from exporter.tail.validation import MalformedError, is_built_in, validate_batch
from parsers import batch as b
from parsers.envelope import ENVELOPES
from parsers.parser import Parser, registered

HALF = "\ud800"

#: In a process of its own, where nothing has been validated yet.
_FIRST_JUDGEMENT = """
import sys
from exporter.tail.validation import validate_batch
from parsers.batch import Batch

called = []
sys.setprofile(lambda frame, event, _: called.append(frame.f_globals["__name__"]) if event == "call" else None)
validate_batch(0, Batch(consumed=0))
sys.setprofile(None)
print(*sorted(set(called)))
"""


def test_nothing_is_left_to_build_for_the_threads() -> None:
    """msgspec builds what it knows of a struct at its first use: two threads at once, and the process crashes."""
    done = subprocess.run([sys.executable, "-c", _FIRST_JUDGEMENT], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("exporter.tail.validation parsers.batch\n", "")


@pytest.mark.parametrize(
    "record",
    [
        b.Opened(HALF, "chat", "a", 1),
        b.Closed(HALF, "finished", 1, 1),
        b.TraceError(HALF, "run", 1),
        b.Accepted("/v1/info", "run_failed", HALF, "2026-11-23T08:53:31Z"),
        b.SpanApp("s", HALF),
        b.OfSpan(HALF, b.Usage("a", "b", "c", 1)),
        b.OfSpan("s", b.Usage("a", "b", "c", 1, cost=Decimal(-1))),
        b.OfSpan("s", b.FirstToken("a", HALF, 1)),
        b.Active(HALF, 1, 1),
        b.Usage("a", "b", "c", 1, cost=Decimal(1), currency=HALF),
        b.Usage("a", "b", "c", 1, cost=Decimal(1), currency="ABC"),
    ],
)
def test_a_record_that_the_state_could_not_store_is_refused(record: b.Record) -> None:
    with pytest.raises(MalformedError):
        validate_batch(0, b.Batch(records=(record,)))


def test_a_stream_that_the_state_could_not_store_is_refused() -> None:
    with pytest.raises(MalformedError):
        validate_batch(0, b.Batch(skip=(HALF,)))


@pytest.mark.parametrize("currency", ["USD", "RMB", b.UNKNOWN, b.OTHER])
def test_a_currency_of_the_built_in_parsers_is_accepted(currency: str) -> None:
    usage = b.Usage("a", "b", HALF, 1, cost=Decimal(1), currency=currency)
    validate_batch(0, b.Batch(records=(usage,)))


class Foreign(Parser, frozen=True):
    """A parser of another package."""


def test_only_parsers_of_this_package_are_trusted() -> None:
    own = [kind() for kind in registered().values() if kind.__module__.startswith("parsers.") and kind.guesses == ({},)]
    assert own
    for parser in own:
        assert is_built_in(parser)
        assert all(is_built_in(envelope(parser=parser)) for envelope in ENVELOPES.values())
    assert not is_built_in(Foreign())
    assert not any(is_built_in(envelope(parser=Foreign())) for envelope in ENVELOPES.values())


@pytest.mark.parametrize("batch", [b.Batch(consumed=2, lines=1), b.Batch(consumed=1, lines=1, ignored=2)])
def test_a_wrong_position_is_refused_also_of_a_trusted_parser(batch: b.Batch) -> None:
    with pytest.raises(MalformedError):
        validate_batch(len(b"x"), batch, is_trusted=True)


def test_a_wrong_record_is_refused_of_any_other_parser() -> None:
    with pytest.raises(MalformedError):
        validate_batch(len(b"x"), b.Batch(consumed=1, lines=1, records=(b.Invocation("x", "200", -1),)))
