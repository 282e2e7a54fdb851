"""A log that is parsed in pieces gives the same numbers as in one, and nobody is left when a replay ends early."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ledger import postings
from exporter.ledger.budgets import Budget
from exporter.ledger.calendar import Spans
from exporter.ledger.history import History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.metrics.exposition import render
from exporter.replay import feed
from exporter.replay.event_times import ALWAYS, Span
from exporter.replay.inputs import Input
from exporter.replay.jobs import Job, Listener, run
from exporter.replay.workers import NO_WORKERS, Workers
from exporter.tail.source_config import SourceConfig
from parsers.batch import Batch
from parsers.envelope import ENVELOPES
from parsers.nginx import Nginx
from parsers.parser import Parser
from tests.golden import NOW, ROOT, config
from tests.system.programs import until

COMMAND = str(Path(sys.executable).with_name("dify-exporter"))
LIMIT = 300
NGINX = Nginx(format='"$request" $status')
DOCKER = ENVELOPES["docker"](parser=NGINX)
CRI = ENVELOPES["cri"](parser=NGINX)
PIECES = [
    b"2026-11-23T08:00:00Z stdout P x",
    b"2026-11-23T08:00:00Z stderr P x",
    b'2026-11-23T08:00:00Z stdout F "GET / HTTP/1.1" 200',
    b'{"log":"\\"GET / HTTP/1.1\\" 200\\n","stream":"stdout","time":"2026-11-23T08:00:00Z"}',
    b'{"log":"\\"GET / HT' + b'T" , "stream":"stdout","time":"2026-11-23T08:00:00Z"}',
    b'{"log":"' + b"x" * 200 + b'","stream":"stderr","time":"2026-11-23T08:00:00Z"}',
]
LINES = st.sampled_from([b"", b"x", b'"GET / HTTP/1.1" 200', b"y" * (LIMIT - 1), b"z" * 900, *PIECES])
DAYS = Span(calendar=Spans("day", ZoneInfo("Europe/Berlin")))


class Pairs(Parser, frozen=True):
    """Records of two lines: what a parser of another package may have."""

    def parse(self, window: bytes, final: bool = False) -> Batch:
        end = 0
        while second := window.find(b"\n", window.find(b"\n", end) + 1 or len(window)) + 1:
            end = second
        end = len(window) if final else end
        return Batch(end, window.count(b"\n", 0, end) + (final and not window.endswith(b"\n") and bool(window)))


class Threads(Workers):
    """Another executor than that of the processes, which takes small logs too."""

    def takes(self, log: Input, is_only: bool) -> bool:
        return not log.is_stream


def counted(files: list[Path], source: SourceConfig, limits: Limits, span: Span, piece: int) -> tuple[bytes, object]:
    """Everything that is counted; in one piece for 0."""
    whole = config()
    budget = Budget("month", "month", "USD", "500")
    ledger = Ledger(limits, lambda: NOW, whole.buckets, whole.prices, [budget], is_stored=False)
    if span is not ALWAYS:
        ledger.keep_history(History(HistoryConfig("Europe/Berlin", 1), limits, lambda: NOW))
    with ThreadPoolExecutor(2) as pool:
        workers = Threads(lambda: pool, 2)
        workers.piece_size = piece
        jobs = [Job(str(file), source) for file in files]
        for _ in run(
            jobs, ledger, limits.line_length, span, Listener(lambda _: None), workers if piece else NO_WORKERS
        ):
            pass
    snapshot = ledger.snapshot(None).in_order
    spent = [{key: amount for key, amount in each.items() if key[1] != "seen"} for each in snapshot.spent.values()]
    return render(snapshot, {}), (spent, ledger.books())


@pytest.mark.parametrize("parser", [NGINX, DOCKER, CRI, Pairs()], ids=["lines", "pieces", "partials", "pairs"])
@settings(max_examples=settings.default.max_examples * 3 // 10)
@given(st.lists(LINES, max_size=30), st.booleans(), st.integers(20, 400))
def test_the_same_as_in_one(parser: Parser, lines: list[bytes], ended: bool, piece: int) -> None:
    if isinstance(parser, Pairs):  # a record that is too long has its first line passed over, wherever a window ends
        lines = [line[:20] for line in lines]
    log = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    source, limits = SourceConfig("a", (), parser), Limits(line_length=LIMIT)
    with NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "BLOCK", piece)
        file.write(log)
        file.flush()
        files = [Path(file.name)]
        assert counted(files, source, limits, ALWAYS, piece) == counted(files, source, limits, ALWAYS, 0)


@pytest.mark.parametrize("source", config().sources, ids=lambda source: source.name)
def test_postings_count_as_the_records_do(
    source: SourceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of record, also where the caps make labels `other`: which ones depends on the order of the records."""
    [log] = source.paths
    packed = tmp_path / "packed.log.gz"
    packed.write_bytes(gzip.compress(Path(log).read_bytes()))
    files, few = [Path(log), packed], Limits(series_per_counter=2, series_per_histogram=2)
    piece = max(1000, Path(log).stat().st_size // 12)
    found = counted(files, source, few, DAYS, piece)
    assert counted(files, source, Limits(), DAYS, piece) == counted(files, source, Limits(), DAYS, 0)
    monkeypatch.setattr(postings, "COUNTED", {})
    assert found == counted(files, source, few, DAYS, piece)
    assert b"dify_exporter_lines_total{" in found[0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sample = (ROOT / "samples" / "nginx-dify.log").read_bytes()
    path = tmp_path_factory.mktemp("large") / "access.log"
    path.write_bytes(sample * (40_000_000 // len(sample)))
    return path


def replay(log: Path, processes: int) -> list[str]:
    form = ["--parser", "nginx", "--format", "dify", "--envelope", "none", "--output", "metrics"]
    return [COMMAND, "replay", str(log), *form, "--processes", str(processes)]


@pytest.mark.system
def test_a_large_file_gives_the_same_numbers(large: Path) -> None:
    one, three = (subprocess.run(replay(large, n), capture_output=True, check=True).stdout for n in (1, 3))
    assert one == three
    assert b"dify_requests_total{" in one


@contextmanager
def parsing(log: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A replay that has seconds before it, and the two processes that parse for it."""
    pattern = r"^(?P<path>(\S+ )+?)\[(.*?)\] .*? (?P<status_code>\d{3}) "
    config = log.with_name("exporter.toml")
    config.write_text(f"[[source]]\nname = 'a'\npaths = ['{log}']\nparser = 'regex'\npattern = '''{pattern}'''\n")
    command = [COMMAND, "replay", "--config", str(config), "--processes", "2", "--output", "json"]
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listens,  # noqa: PLW1509
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def both() -> list[int]:
            found = [int(pid) for pid in children.read_text().split()]
            return found if len(found) == 2 else []

        try:
            yield process, until("two processes that parse", both)
        finally:
            process.kill()


def gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.system
def test_an_interrupt_ends_them_all(large: Path) -> None:
    with parsing(large) as (process, workers):
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130, "interrupted: the result covers only what was read until then\n")
        assert json.loads(output).keys() <= {"a"}
        until("their end", lambda: gone(workers))


@pytest.mark.system
def test_nobody_outlives_a_replay_that_is_killed(large: Path) -> None:
    with parsing(large) as (process, workers):
        process.kill()
        until("their end", lambda: gone(workers))


@pytest.mark.system
def test_one_that_is_killed_is_said(large: Path) -> None:
    with parsing(large) as (process, workers):
        os.kill(workers[1], signal.SIGKILL)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (2, "")
        assert errors == "dify-exporter: one of the parsing processes has died; try --processes 1\n"
        until("their end", lambda: gone(workers))
