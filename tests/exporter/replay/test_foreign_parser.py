"""A parser of another package that raises, or gives no batch, is one sentence that holds no text of the log."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exporter.advice.doctor import Examined, examine
from exporter.backfill.run import Steps, merged
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.replay.detect import Guess, detect
from exporter.replay.errors import InputError
from exporter.replay.event_times import ALWAYS, Span
from exporter.replay.jobs import Job, run
from exporter.replay.notes import Notes
from exporter.replay.pieces import Plan
from exporter.replay.workers import NO_WORKERS, Workers
from exporter.tail.source_config import SourceConfig
from parsers.batch import Batch, Invocation
from parsers.parser import Parser
from tests.exporter.replay.test_pieces import Threads
from tests.golden import NOW, config

FAULTS = {
    "raises": "parse raised KeyError",
    "recurses": "parse raised RecursionError",
    "none": "parse gave NoneType, expected Batch",
    "too far": "consumed is ",
    "record": "a record is malformed: ",
    "time": "a record is malformed: ",
}


class Faulty(Parser, frozen=True):
    """It has a fault where a window begins with one of the given texts."""

    fault: str
    at: bytes

    def parse(self, window: bytes, final: bool = False) -> Any:
        if not window.startswith(self.at):
            return super().parse(window, final)
        if self.fault == "raises":
            raise KeyError(window)
        if self.fault == "recurses":
            return self.parse(window, final)
        return {
            "none": None,
            "too far": Batch(consumed=len(window) + 1, lines=1),
            "record": Batch(consumed=len(window), lines=1, records=(Invocation("x", "200", -1),)),
            "time": Batch(consumed=len(window), lines=1, last_at="CANARY"),  # type: ignore[arg-type]
        }[self.fault]


class Raising(Notes):
    def __init__(self) -> None:
        super().__init__(lambda _: None, 1)

    def failed(self, error: InputError) -> None:
        raise error


def replayed(job: Job, workers: Workers, span: Span = ALWAYS) -> None:
    plan = config()
    ledger = Ledger(plan.limits, lambda: NOW, plan.buckets, plan.prices, [], is_stored=False)
    ledger.keep_history(History(HistoryConfig("UTC", 1), plan.limits, lambda: NOW))
    for _ in run([job], ledger, plan.limits.line_length, span, Raising(), workers):
        pass


def in_a_span(job: Job, workers: Workers) -> None:
    replayed(job, workers, Span(since=1))


def backfilled(job: Job, workers: Workers) -> None:
    for _ in merged([job], Plan("", "", Parser(), 1 << 20), Steps(60), lambda _: None, workers):
        pass


@pytest.mark.parametrize("fault", FAULTS)
def test_check_and_the_detection_of_formats_say_it_too(tmp_path: Path, fault: str) -> None:
    log, parser = tmp_path / "a.log", Faulty(fault=fault, at=b"")
    log.write_bytes(b"CANARY\n" * 9)
    found = list(examine(SourceConfig("foreign", (str(log),), parser), Examined()))
    assert found[0].problem
    assert found[0].text.startswith(f"{log}: this parser has a fault: {FAULTS[fault]}")
    assert not any("CANARY" in each.text for each in found)
    assert detect(log.read_bytes(), [Guess(parser, "foreign")]) is None


@pytest.mark.parametrize("read", [replayed, in_a_span, backfilled])
@pytest.mark.parametrize("at", [b"CANARY", b""], ids=["behind the sample", "at once"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_parser_is_one_sentence(
    tmp_path: Path, read: Callable[[Job, Workers], None], at: bytes, fault: str
) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 300_000 + b"\n" + b"CANARY\n" * 9)
    job = Job(str(log), SourceConfig("foreign", (str(log),), Faulty(fault=fault, at=at)))
    with ThreadPoolExecutor(1) as pool:
        pieces = Threads(lambda: pool, 1)
        pieces.piece_size = 300_000
        for workers in (NO_WORKERS, pieces) if at == b"" else (pieces,):
            with pytest.raises(InputError) as raised:
                read(job, workers)
            sentence = str(raised.value)
            assert sentence.startswith(f"{log}: this parser has a fault: {FAULTS[fault]}")
            assert sentence.endswith("; ask its author")
            assert "CANARY" not in sentence
