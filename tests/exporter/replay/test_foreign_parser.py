"""A parser of another package that raises, or gives no batch, is one sentence that holds no text of the log."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from exporter.advice.doctor import Examined, examine
from exporter.backfill.run import Steps, merged
from exporter.cli import main
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
from exporter.tail.time_zones import EventTimeCheck
from parsers.batch import Batch, Invocation
from parsers.nginx import Nginx
from parsers.parser import ENTRY_POINTS, Parser, registered
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


class InAnotherZone(Parser, frozen=True):
    """It reads nginx's log, and has a fault in every zone but the usual one. `timezone` may also be a number."""

    fault: str
    timezone: Any = "UTC"

    def __post_init__(self) -> None:
        if self.fault == "constructor" and self.timezone not in ("UTC", 5):
            raise KeyError(self.timezone)

    def parse(self, window: bytes, final: bool = False) -> Any:
        if self.timezone in ("UTC", 5):
            return Nginx().parse(window, final)
        return Faulty(fault=self.fault, at=b"").parse(window, final)


@pytest.mark.parametrize("timezone", ["UTC", 5])
@pytest.mark.parametrize("fault", ["constructor", *FAULTS])
def test_a_wrong_clock_is_still_a_warning(caplog: pytest.LogCaptureFixture, fault: str, timezone: object) -> None:
    parser, ahead = InAnotherZone(fault=fault, timezone=timezone), datetime.fromtimestamp(NOW + 8 * 3600, UTC)
    log = b'10.1.1.1 - - [%s] "GET /v1/info HTTP/1.1" 200 5 "-" "-" "-"\n' % f"{ahead:%d/%b/%Y:%H:%M:%S +0000}".encode()
    EventTimeCheck("foreign", parser, lambda: NOW).look(log, parser.parse(log).last_at, True)
    assert "8 hours ahead of the clock: no timezone of its [[source]] explains that" in caplog.text


class Unconstructible(Parser, frozen=True):
    def __post_init__(self) -> None:
        raise KeyError("CANARY")


def run_with(found: object, tmp_path: Path, *arguments: str) -> Result:
    """Run a command in a folder with one log, where a package has registered `found` as its parser."""
    point = EntryPoint("foreign", f"{__name__}:{found}", ENTRY_POINTS)
    points = EntryPoints([*entry_points(group=ENTRY_POINTS), point])
    log = tmp_path / "a.log"
    log.write_bytes(b"CANARY\n")
    parser = "foreign" if "--config" in arguments else "dify"
    text = f'[[source]]\nname = "a"\npaths = ["a.log"]\nparser = "{parser}"\n'
    (tmp_path / "exporter.toml").write_text(text)
    registered.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parsers.parser._points", lambda: points)
        patch.chdir(tmp_path)
        try:
            return CliRunner().invoke(main, arguments)
        finally:
            registered.cache_clear()


ASK = "this parser has a fault: its constructor raised KeyError; ask its author"


@pytest.mark.parametrize(
    ("found", "arguments", "code", "sentence"),
    [
        ("Unconstructible", ["check", "--config", "exporter.toml"], 2, f'[[source]] "a": {ASK}'),
        ("Unconstructible", ["replay", "--parser", "foreign", "a.log"], 2, f"--parser foreign: {ASK}"),
        ("Unconstructible", ["check"], 1, "no line fits the parser; no other parser fits either"),
        ("Unconstructible", ["explain", "x"], 1, "no parser reads this line"),
        ("Absent", ["check", "--config", "exporter.toml"], 2, '[[source]] "a": the parser "foreign" cannot be loaded'),
        ("Absent", ["check"], 2, 'the parser "foreign" cannot be loaded (AttributeError): '),
        ("FAULTS", ["check"], 2, 'the parser "foreign" cannot be loaded (TypeError): '),
        ("Path", ["check"], 2, 'the parser "foreign" is no subclass of Parser: '),
    ],
)
def test_a_parser_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, found: str, arguments: list[str], code: int, sentence: str
) -> None:
    ended = run_with(found, tmp_path, *arguments)
    assert (ended.exit_code, type(ended.exception)) == (code, SystemExit), ended.output
    assert sentence in ended.output
    assert "CANARY" not in ended.output
