"""`backfill --adopt` writes the state that `serve` goes on from: each line counts once."""

import gzip
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.config.loader import load
from exporter.ledger.history import History
from exporter.ledger.ledger import Ledger
from exporter.persistence.checkpoint import Checkpoint, read_state
from exporter.tail.source import Source
from exporter.tail.source_config import SourceOptions
from tests.exporter.report.test_backfill import Series, series_of

NOW = datetime.now(UTC).replace(microsecond=0)
APP = "0f0e0000-0000-4000-8000-000000000001"
TASK = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"
CONFIG = """
[exporter]
state = "state"
[history]
timezone = "Asia/Kathmandu"
[[source]]
name = "edge"
paths = ["logs/access.log"]
parser = "nginx"
[[source]]
name = "dify"
paths = ["logs/worker.log", "logs/usage.log"]
parser = "dify"
[[budget]]
name = "tokens"
window = "month"
unit = "tokens"
limit = "1000"
"""


def request(ago: timedelta, status: int = 200) -> str:
    at = NOW - ago
    return f'10.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET /v1/info HTTP/1.1" {status} 47 "-" "c" "-"\n'


def usage(ago: timedelta, tokens: int) -> str:
    line = {"ts": f"{NOW - ago:%Y-%m-%dT%H:%M:%S.000Z}", "severity": "INFO", "caller": "telemetry_log.py:71", "message": "telemetry.span_detail", "attributes": {"dify.event.name": "dify.node.execution", "dify.app_id": APP, "dify.node.type": "llm", "dify.node.status": "succeeded", "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 0, "gen_ai.provider.name": "p", "gen_ai.request.model": "m"}}  # fmt: skip
    return json.dumps(line) + "\n"


def opened(ago: timedelta, trace: str) -> str:
    return (
        f"{NOW - ago:%Y-%m-%d %H:%M:%S.000} INFO [Dummy-1] [workflow_execute_task.py:283] {trace} - "
        f"workflow_based_app_execution_task run with params: app_id='{APP}' workflow_id='w' tenant_id='t' "
        "app_mode=<AppMode.WORKFLOW: 'workflow'> user=x\n"
    )


def closed(ago: timedelta, trace: str) -> str:
    return (
        f"{NOW - ago:%Y-%m-%d %H:%M:%S.000} INFO [Dummy-1] [trace.py:128] {trace} - Task {TASK}"
        "[996f75fd-84ce-4a65-a176-9219573c1936] succeeded in 1.5s: None\n"
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and the logs of two sources, of several days, rotated and packed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exporter.toml").write_text(CONFIG)
    logs = tmp_path / "logs"
    logs.mkdir()
    old = "".join(request(timedelta(hours=30, minutes=-number)) for number in range(100))
    (logs / "access.log.2.gz").write_bytes(gzip.compress(old.encode()))
    (logs / "access.log.1").write_text("".join(request(timedelta(hours=20, minutes=-n)) for n in range(50)))
    for name, hours in (("access.log.2.gz", 28), ("access.log.1", 19)):
        os.utime(logs / name, (time.time() - hours * 3600,) * 2)
    (logs / "access.log").write_text("".join(request(timedelta(hours=5, minutes=-n), 500) for n in range(30)))
    (logs / "worker.log").write_text(
        opened(timedelta(hours=1), "a" * 32) + closed(timedelta(minutes=50), "a" * 32)
        + opened(timedelta(minutes=20), "b" * 32)
    )  # fmt: skip
    (logs / "usage.log").write_text(usage(timedelta(minutes=7), 70) + usage(timedelta(minutes=6), 30))
    return tmp_path


def adopt(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["backfill", "--step", "600", *arguments, "--adopt"])


def adopted(*arguments: str) -> Series:
    result = adopt(*arguments, "--output", "past.om")
    assert result.exit_code == 0, result.output
    return series_of(Path("past.om").read_text())


class Serve:
    """The sources and the ledger of `serve`, without its threads."""

    def __init__(self) -> None:
        config = load(Path("exporter.toml"))
        self.now = time.monotonic()
        self.ledger = Ledger(config.limits, time.time, config.buckets, config.prices, config.budgets)
        self.ledger.keep_history(History(config.history, config.limits, time.time))
        checkpoint = Checkpoint(Path("state"))
        state, warnings = checkpoint.load()
        checkpoint.close()
        assert state is not None
        assert warnings == []
        self.warnings = self.ledger.restore(state, [source.name for source in config.sources])
        for source in config.sources:
            self.ledger.open(source.name)
        self.sources = [Source(SourceOptions(each), self.ledger, lambda: self.now) for each in config.sources]
        self.poll()

    def poll(self, seconds: float = 0.0) -> None:
        """Turn the clock, and read all there is."""
        for _ in range(1 + int(seconds)):
            self.now += 1.0
            for source in self.sources:
                while source.turn():
                    pass

    def counters(self) -> dict[str, dict[tuple[str, ...], float]]:
        snapshot = self.ledger.snapshot(time.time())
        return {metric.name: {**values} for metric, values in snapshot.counters.items()}  # type: ignore[dict-item]

    def close(self) -> None:
        for source in self.sources:
            source.close()


@pytest.fixture
def serve() -> Iterator[list[Serve]]:
    started: list[Serve] = []
    yield started
    for each in started:
        each.close()


ALL = ("logs/access.log*", "logs/worker.log", "logs/usage.log")


def test_serve_goes_on_with_the_counters_and_positions(home: Path, serve: list[Serve]) -> None:
    series = adopted(*ALL)
    serve.append(Serve())
    [service] = serve
    counters = service.counters()
    requests = counters["dify_requests_total"]
    assert requests == {("edge", "GET", "/v1/info", "200"): 150, ("edge", "GET", "/v1/info", "500"): 30}
    for metric in ("dify_requests_total", "dify_exporter_lines_total", "dify_runs_total", "dify_tokens_used_total"):
        last = sum(samples[-1][1] for name, samples in series.items() if name.startswith(metric + "{"))
        assert last == sum(counters[metric].values()), f"{metric}: no step at the join"
    assert max(at for samples in series.values() for at, _ in samples) <= time.time() + 1
    with (home / "logs/access.log").open("a") as log:
        log.write(request(timedelta(), 404))
    with (home / "logs/worker.log").open("a") as log:
        log.write(closed(timedelta(), "b" * 32))
    service.poll(8)
    assert service.counters()["dify_requests_total"] == requests | {("edge", "GET", "/v1/info", "404"): 1}
    ended = service.ledger.snapshot(None).counters
    runs = next({**values} for metric, values in ended.items() if metric.name == "dify_runs_total")
    assert runs == {("dify", "workflow", APP, "finished"): 2}, "the run that began before the join is known"
    assert counters["dify_exporter_lost_bytes_total"] == dict.fromkeys((("edge",), ("dify",)), 0)
    assert counters["dify_exporter_rotations_total"] == dict.fromkeys((("edge",), ("dify",)), 0)


def test_rotations_behind_the_join_lose_nothing_and_count_nothing_twice(home: Path, serve: list[Serve]) -> None:
    adopted(*ALL)
    logs = home / "logs"
    with (logs / "access.log").open("a") as log:
        log.write(request(timedelta(), 404))
    os.rename(logs / "access.log.1", logs / "access.log.3")
    os.rename(logs / "access.log", logs / "access.log.1")
    (logs / "access.log").write_text(request(timedelta(), 201))
    serve.append(Serve())
    [service] = serve
    service.poll(8)
    (logs / "access.log.1.gz").write_bytes(gzip.compress((logs / "access.log.1").read_bytes()))
    (logs / "access.log.1").unlink()
    os.truncate(logs / "usage.log", 0)
    service.poll(8)
    counted = {labels[3]: count for labels, count in service.counters()["dify_requests_total"].items()}
    assert counted == {"200": 150, "500": 30, "404": 1, "201": 1}
    assert sum(service.counters()["dify_tokens_used_total"].values()) == 100


def test_a_half_line_is_left_to_serve(home: Path, serve: list[Serve]) -> None:
    """Also in a file that was rotated a moment ago, to which a program may still write."""
    logs = home / "logs"
    half, other = request(timedelta(), 201), request(timedelta(), 202)
    os.rename(logs / "access.log", logs / "access.log.0")
    with (logs / "access.log.0").open("a") as log:
        log.write(half[:30])
    (logs / "access.log").write_text(other[:40])
    adopted(*ALL)
    serve.append(Serve())
    for name, rest in (("access.log.0", half[30:]), ("access.log", other[40:])):
        with (logs / name).open("a") as log:
            log.write(rest)
    serve[0].poll(8)
    counted = {labels[3]: count for labels, count in serve[0].counters()["dify_requests_total"].items()}
    assert counted == {"200": 150, "500": 30, "201": 1, "202": 1}
    assert sum(serve[0].counters()["dify_exporter_unparsed_lines_total"].values()) == 0


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\0\0\0"])
def test_an_empty_log_is_followed(home: Path, serve: list[Serve], begin: bytes) -> None:
    (home / "logs/access.log").write_bytes(begin)
    adopted(*ALL)
    serve.append(Serve())
    with (home / "logs/access.log").open("a") as log:
        log.write(request(timedelta(), 201))
    serve[0].poll(2)
    assert sum(serve[0].counters()["dify_requests_total"].values()) == 151


def test_days_budgets_and_created_times_are_part_of_the_state(home: Path, serve: list[Serve]) -> None:
    series = adopted(*ALL)
    state, _ = read_state(home / "state")
    assert state is not None
    day = (NOW - timedelta(hours=30) + timedelta(hours=5, minutes=45)).date().isoformat()
    book = state.history["Asia/Kathmandu", day, "edge"]
    assert book is not None
    assert sum(number for labels, number in book.items() if labels[0] == "requests") >= 1  # type: ignore[misc]
    days = {key[1] for key in state.history if key[2] == "edge"}
    whole = sum(
        number for key, book in state.history.items() if key[2] == "edge" and book
        for labels, number in book.items() if labels[0] == "requests"
    )  # type: ignore[misc]  # fmt: skip
    assert (len(days) >= 2, whole) == (True, 180)
    [spent] = state.spent.values()
    month = [amount for (at, unit), amount in spent.items() if unit == "tokens"]
    assert sum(month) == 100  # type: ignore[arg-type]
    for labels, at in state.created["dify_requests_total"].items():
        pairs = zip(("source", "method", "route", "status_code"), labels, strict=True)
        name = "dify_requests_total{" + ",".join(f'{key}="{value}"' for key, value in pairs) + "}"
        assert series[name][0] == (at, 0), "it was created when its line begins with 0"
    report = CliRunner().invoke(main, ["report", "--output", "json"])
    assert json.loads(report.stdout)["totals"]["requests"] == 180
    serve.append(Serve())
    assert serve[0].warnings == []


def test_a_second_source_joins_a_state_that_does_not_know_it(home: Path, serve: list[Serve]) -> None:
    adopted("logs/access.log*")
    assert adopted("logs/worker.log", "logs/usage.log")
    serve.append(Serve())
    counters = serve[0].counters()
    assert sum(counters["dify_requests_total"].values()) == 180
    assert sum(counters["dify_tokens_used_total"].values()) == 100
    result = adopt("logs/access.log*", "--output", "again.om")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"dify-exporter: the state in {home / 'state'} knows source edge already: `serve` goes on from there; to begin anew, "
        "stop it and remove this folder"
    )
    assert not (home / "again.om").exists()


def test_archives_elsewhere_belong_to_the_log_with_their_name(home: Path, serve: list[Serve]) -> None:
    archive = home / "archive"
    archive.mkdir()
    old = "".join(request(timedelta(hours=33, minutes=-number)) for number in range(11))
    (archive / "access.log-20261001.gz").write_bytes(gzip.compress(old.encode()))
    adopted(*ALL, "archive/*")
    serve.append(Serve())
    assert sum(serve[0].counters()["dify_requests_total"].values()) == 191


def test_files_beside_the_log_that_were_not_named_are_never_read(home: Path, serve: list[Serve]) -> None:
    adopted("logs/access.log")
    serve.append(Serve())
    serve[0].poll(8)
    assert sum(serve[0].counters()["dify_requests_total"].values()) == 30


def test_a_banner_without_a_time_goes_with_the_first_line(home: Path) -> None:
    worker = home / "logs/worker.log"
    worker.write_text(" -------------- celery@worker v5.4.0 (opalescent)\n[tasks]\n" + worker.read_text())
    adopted(*ALL)
    state, _ = read_state(home / "state")
    assert state is not None
    first = (NOW - timedelta(days=2)).date().isoformat()
    assert all(day >= first for _, day, _ in state.history), "none is in 1970"
    assert all(at > time.time() - 2 * 86_400 for each in state.created.values() for at in each.values())
    report = CliRunner().invoke(main, ["report", "logs/worker.log", "--output", "json", "--by", "hour"])
    assert json.loads(report.stdout)["rows"][0]["runs"] == 1


def refused(home: Path, sentence: str, *arguments: str) -> None:
    before = sorted(str(path) for path in home.rglob("*") if path.name not in ("state", "lock"))
    result = adopt(*arguments, "--output", "past.om")
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1] == f"dify-exporter: {sentence}"
    assert sorted(str(path) for path in home.rglob("*") if path.name not in ("state", "lock")) == before


def test_what_cannot_be_adopted_is_one_sentence(home: Path) -> None:
    (home / "logs/other.log").write_text(request(timedelta()))
    refused(
        home,
        "logs/other.log: belongs to no configured source, so `serve` cannot go on from it: name its log in paths, or its "
        "folder in log_patterns, or leave it out",
        "logs/access.log*",
        "logs/other.log",
    )
    refused(
        home,
        f'source "edge": its log {home / "logs/access.log"} is not among the files: name it too, so that `serve` goes on '
        "where the backfill ends",
        "logs/access.log.*",
    )
    checkpoint = Checkpoint(home / "state")
    refused(
        home,
        f"--adopt: the state in {home / 'state'} is in use by the exporter with process id {os.getpid()}: stop it first",
        "logs/access.log",
    )
    checkpoint.close()
    text = (home / "exporter.toml").read_text()
    (home / "exporter.toml").write_text(text.replace('state = "state"', 'state = ""'))
    refused(home, "exporter.toml: --adopt needs a state, and [exporter] state is empty", "logs/access.log")
    (home / "exporter.toml").write_text(text.replace('state = "state"', 'state = "exporter.toml/state"'))
    refused(home, f"{home / 'exporter.toml/state'}: cannot be written: Not a directory", "logs/access.log")
    same = text + '[[source]]\nname = "twin"\npaths = ["twin/access.log"]\nparser = "nginx"\n'
    (home / "exporter.toml").write_text(same)
    (home / "archive").mkdir()
    (home / "archive/access.log.1").write_text(request(timedelta(hours=9)))
    refused(
        home,
        'archive/access.log.1: may belong to source "edge" or "twin": name its folder in log_patterns of one of them',
        "logs/access.log",
        "archive/access.log.1",
    )


@pytest.mark.parametrize("change", ["rotated", "truncated"])
def test_a_log_that_changes_while_it_is_read_is_one_sentence(
    home: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporter.cli import backfill

    real = backfill.write_samples

    def meanwhile(*arguments: object) -> object:
        state = real(*arguments)  # type: ignore[arg-type]
        log = home / "logs/access.log"
        if change == "rotated":
            log.rename(home / "logs/access.log.0")
            log.write_text(request(timedelta()))
            (home / "logs/access.log.0").rename(home / "gone")
        else:
            log.write_text("")
        return state

    monkeypatch.setattr(backfill, "write_samples", meanwhile)
    result = adopt(*ALL, "--output", "past.om")
    assert result.exit_code == 2
    assert f"logs/access.log: was {change} while the logs were read: run the command again" in result.stderr
    assert read_state(home / "state") == (None, [])
    assert not (home / "past.om").exists()


def test_a_full_disk_writes_neither_samples_nor_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(home / "state/state.tmp"))

    monkeypatch.setattr(Checkpoint, "save", full)
    result = adopt(*ALL, "--output", "past.om")
    assert result.exit_code == 2
    assert (
        result.stderr.splitlines()[-1]
        == f"dify-exporter: {home / 'state/state'}: cannot be written: No space left on device"
    )
    assert not list(home.glob("past*"))


def test_the_samples_are_those_of_the_same_backfill_without_a_state(home: Path) -> None:
    series = adopted(*ALL)
    plain = CliRunner().invoke(main, ["backfill", *ALL, "--step", "600", "--output", "-"])
    assert {name for name in series if name.startswith("dify_requests")} == {
        name for name in series_of(plain.stdout) if name.startswith("dify_requests")
    }
