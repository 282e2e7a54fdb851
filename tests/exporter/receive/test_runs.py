"""A run that comes through two channels counts once, in whatever order its three spans come, and over restarts.

A provider sends the run with its id, ENABLE_OTEL the span of the run without it; the start node's span knows both.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

import pytest

from exporter import catalogue as c
from exporter.receive import runs
from exporter.receive.fact_log import FactLog, newest_first
from exporter.wsgi.log_file import LogFile
from parsers.batch import UNKNOWN
from parsers.tracing import Reading, read_langfuse, read_otlp
from tests.exporter.wsgi.test_log_file import file_size_limit
from tests.parsers.tracing.events import langfuse
from tests.parsers.tracing.spans import NATIVE, OTEL, PHOENIX, Node, Workflow, native, otel, requests_of, stories
from tests.parsers.tracing.writer import Writer, counted

RUN, APP, OTHER_APP = (f"990e8400-0000-4000-8000-00000000000{digit}" for digit in "def")
STORY = [run for run in stories(5, 12) if isinstance(run, Workflow)]
ORDERS = [*permutations(["provided", "runner", "start"])]
PROVIDERS = pytest.mark.parametrize("provider", ["otel", "phoenix", "langfuse"])


def read(body: bytes) -> Reading:
    return read_langfuse(body) if body.startswith(b"{") else read_otlp(body, is_json=False, native=True)


def of_provider(provider: str, found: Sequence[Workflow], seed: int = 2) -> list[Reading]:
    if provider == "langfuse":
        return [read(body) for body in langfuse(found)]
    spans = otel(found, seed, provider == "phoenix")
    return [read(body) for body in requests_of(spans, PHOENIX if provider == "phoenix" else OTEL)]


def of_enable_otel(found: Sequence[Workflow]) -> list[Reading]:
    return [read(body) for body in requests_of(native(found), NATIVE)]


def spans_of(run: Workflow) -> dict[str, Reading]:
    """The three spans: the provider's run, the native span of the run, and the native start node."""
    start, runner = of_enable_otel([run])
    return {"provided": of_provider("otel", [run])[0], "runner": runner, "start": start}


def workflow(app_id: str = APP, node_type: str = "start") -> Workflow:
    return Workflow(RUN, app_id, (Node("0b6f6a9e-0000-4000-8000-000000000002", node_type),))


def runs_of(lines: Iterable[bytes]) -> Counter[str]:
    """Runs by app."""
    found: Counter[str] = Counter()
    for (_, _, app_id, _), count in counted(lines).counters[c.RUNS].items():
        found[app_id] += int(count)
    return found


@PROVIDERS
@pytest.mark.parametrize("seed", range(4))
def test_three_channels_in_any_order_with_restarts(provider: str, seed: int) -> None:
    """The spans of ENABLE_OTEL come at two paths; a part comes again, of the provider's also with new ids of spans."""
    chance = random.Random(seed)
    bodies = [*of_enable_otel(STORY) * 2, *of_provider(provider, STORY), *of_provider(provider, STORY, 3)[::2]]
    chance.shuffle(bodies)
    writer = Writer()
    for body in bodies:
        if chance.random() < 0.05:
            writer = Writer(writer.lines, writer.now)
        writer.take(body)
    writer.wait()
    alone = Writer()
    for body in of_provider(provider, STORY):
        alone.take(body)
    assert runs_of(writer.lines) == runs_of(alone.lines)
    assert any(b"dify.span.draft" in line for line in writer.lines)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("restart_at", [None, 1, 2, 3])
def test_each_order_with_a_restart(order: tuple[str, ...], restart_at: int | None) -> None:
    spans, writer = spans_of(workflow()), Writer()
    for number, name in enumerate([*order, *order]):
        if number == restart_at:
            writer = Writer(writer.lines, writer.now)
        writer.take(spans[name])
    assert runs_of(writer.lines) == {APP: 1}  # without waiting
    lines = [*writer.lines]
    writer.wait()
    assert writer.lines == lines


@pytest.mark.parametrize("node_type", ["trigger-webhook", "trigger-schedule", "trigger-plugin"])
def test_a_run_that_a_trigger_starts(node_type: str) -> None:
    spans, writer = spans_of(workflow(node_type=node_type)), Writer()
    for name in ("provided", "runner", "start"):
        writer.take(spans[name])
    writer.wait()
    assert runs_of(writer.lines) == {APP: 1}


@pytest.mark.parametrize("order", ORDERS)
def test_one_request_with_all_three(order: tuple[str, ...]) -> None:
    """As a collector sends them."""
    spans, writer = spans_of(workflow()), Writer()
    writer.take(Reading([fact for name in order for fact in spans[name].facts], {}, {}))
    assert runs_of(writer.lines) == {APP: 1}


def test_the_span_of_the_run_never_comes() -> None:
    spans, writer = spans_of(workflow()), Writer()
    writer.take(spans["start"])
    writer.take(spans["provided"])
    assert runs_of(writer.lines) == {APP: 1}


@pytest.mark.parametrize("name", ["provided", "runner"])
def test_a_run_of_one_channel_does_not_wait(name: str) -> None:
    spans, writer = spans_of(workflow()), Writer()
    writer.take(spans[name])
    assert runs_of(writer.lines) == {APP: 1}


def test_a_run_does_not_wait_for_one_of_another_app() -> None:
    writer = Writer()
    writer.take(spans_of(workflow(OTHER_APP))["provided"])
    writer.take(spans_of(workflow())["runner"])
    assert runs_of(writer.lines) == {APP: 1, OTHER_APP: 1}


def test_a_run_of_an_unknown_app_may_be_one_of_any_app() -> None:
    spans, writer = spans_of(workflow()), Writer()
    (fact,) = spans_of(workflow("no id"))["runner"].facts
    writer.take(spans["provided"])
    writer.take(Reading([fact], {}, {}))
    assert runs_of(writer.lines) == {APP: 1}
    writer.wait()
    assert runs_of(writer.lines) == {APP: 1, UNKNOWN: 1}


@pytest.mark.parametrize("order", [("provided", "runner"), ("runner", "provided")])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_without_its_start_node_a_run_counts_when_it_has_waited(order: tuple[str, str], is_restarted: bool) -> None:
    """Then nothing says that the two are one."""
    spans, writer = spans_of(workflow()), Writer()
    for name in order:
        writer.take(spans[name])
    assert runs_of(writer.lines) == {APP: 1}
    if is_restarted:
        writer = Writer(writer.lines, writer.now)
    writer.take(spans[order[1]])  # it does not wait twice
    writer.wait()
    assert runs_of(writer.lines) == {APP: 2}
    writer.take(spans["start"])
    writer = Writer(writer.lines, writer.now)
    for reading in spans.values():
        writer.take(reading)
    writer.wait()
    assert runs_of(writer.lines) == {APP: 2}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_two_drafts_of_one_run_are_one_run(is_restarted: bool) -> None:
    """Both wait because of other runs, until their start node comes."""
    ids = [f"990e8400-0000-4000-8000-0000000000{number:02}" for number in range(3)]
    found = [workflow()._replace(run_id=run_id) for run_id in ids]
    natives, provided = of_enable_otel(found), of_provider("otel", found)
    writer = Writer()
    writer.take(natives[1])  # the span of the first run
    writer.take(provided[2])  # the second run waits in vain
    writer.wait()
    assert runs_of(writer.lines) == {APP: 2}
    writer.take(natives[5])
    writer.take(provided[4])
    assert runs_of(writer.lines) == {APP: 2}
    if is_restarted:
        writer = Writer(writer.lines, writer.now)
    writer.take(natives[4])
    assert runs_of(writer.lines) == {APP: 3}
    writer.wait()
    assert runs_of(writer.lines) == {APP: 3}


def test_a_run_that_was_written_long_ago_lets_no_run_wait() -> None:
    spans, writer = spans_of(workflow()), Writer()
    writer.take(spans["provided"])
    writer.now += 3600
    writer.take(spans["runner"])
    assert runs_of(writer.lines) == {APP: 2}


def test_the_number_of_runs_that_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LIMIT", 3)
    found = [workflow()._replace(run_id=f"990e8400-0000-4000-8000-0000000000{number:02}") for number in range(10)]
    writer = Writer()
    writer.take(of_provider("otel", found)[0])
    for reading in of_enable_otel(found):
        if any(fact.run_app is not None for fact in reading.facts):
            writer.take(reading)
    assert runs_of(writer.lines) == {APP: 1 + 7}
    writer.wait()
    assert runs_of(writer.lines) == {APP: 1 + 10}


def test_a_clock_that_is_set_back_holds_no_run(tmp_path: Path) -> None:
    path, now = tmp_path / "receive.log", 0.0
    file, spans = LogFile(str(path)), spans_of(workflow())
    log = FactLog(file, clock=lambda: now)
    assert log.write(spans["provided"])
    assert log.write(spans["runner"])
    now -= 3600
    log.every_second()
    assert runs_of(path.read_bytes().splitlines(keepends=True)) == {APP: 2}
    file.close()


def test_a_full_disk_loses_no_run_that_waits(tmp_path: Path) -> None:
    path, now = tmp_path / "receive.log", 0.0
    file, spans = LogFile(str(path)), spans_of(workflow())
    log = FactLog(file, clock=lambda: now)
    assert log.write(spans["provided"])
    assert log.write(spans["runner"])
    now += runs.WAIT_SECONDS
    with file_size_limit(path.stat().st_size):
        log.every_second()
        assert log.write(spans["runner"])
    assert runs_of(path.read_bytes().splitlines(keepends=True)) == {APP: 1}
    log.every_second()
    log.every_second()
    assert runs_of(path.read_bytes().splitlines(keepends=True)) == {APP: 2}
    file.close()


def test_a_foreign_draft_in_the_log_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "receive.log"
    head = b'{"ts":"2026-11-30T00:00:00.000Z","service":"dify-exporter-receive","attributes":{"dify.span.key":'
    path.write_bytes(head + b'"draft:run:1"}}\n' + head + b'"draft:run:2","dify.span.draft":5}}\n')
    log = FactLog(LogFile(str(path)))
    log.find_again(newest_first(str(path)))
    log.every_second()
