"""The outcomes of a real Dify's runs and streams, as its clients saw them, from the logs of its worker and its api."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter import catalogue as c
from exporter.ledger.ledger import Ledger
from exporter.ledger.series import Limits
from exporter.replay.event_times import ALWAYS
from exporter.replay.jobs import Job, Listener, run
from exporter.tail.source_config import SourceConfig
from parsers.dify import Dify
from parsers.envelope import Cri, Docker
from parsers.parser import Parser
from tests.exporter.replay.test_pieces import Threads
from tests.real_dify import forms

BOOK = json.loads((forms.HERE / "expected.json").read_text())["phases"]
#: What the log of a worker can know of how a run ended: it says nothing of one that was stopped.
KNOWN = {
    "failed": "failed",
    "failed before the graph began": "failed",
    "partial-succeeded": "partial-succeeded",
    "stopped": "finished",
    "succeeded": "finished",
    "succeeded (client had left)": "finished",
}
FORMS = pytest.mark.parametrize(
    ("parser", "form", "envelope"),
    [
        (Dify(), forms.text, None),
        (Dify(), forms.source_install, None),
        (Dify(), forms.structured, None),
        (Docker(parser=Dify()), forms.text, forms.docker),
        (Cri(parser=Dify()), forms.structured, forms.cri),
    ],
    ids=["text", "source install", "json", "text in docker", "json in cri"],
)


def entered(parser: Parser, log: bytes, size: int = 1 << 22) -> Ledger:
    """The ledger after a log that was read in windows of that size."""
    ledger = Ledger(Limits(), lambda: 1796000000.0)
    begin, end = 0, 0
    while begin < len(log):
        end = max(end, begin) + size
        batch = parser.parse(log[begin:end], final=end >= len(log))
        ledger.enter("dify", batch)
        begin += batch.consumed
    return ledger


def runs(ledger: Ledger) -> Counter[tuple[str, ...]]:
    counted = ledger.snapshot(None).counters[c.RUNS].items()
    return Counter({labels[1:]: int(count) for labels, count in counted if count})


def failed(ledger: Ledger) -> Counter[tuple[str, ...]]:
    """Failed requests that an access line reported as answered, by route and reason."""
    counted = ledger.snapshot(None).counters[c.FAILED_REQUESTS].items()
    return Counter({labels[1:]: int(n) for labels, n in counted if n and labels[2] in ("stream_error", "run_failed")})


def book_of_runs(phase: str) -> Counter[tuple[str, ...]]:
    book = Counter[tuple[str, ...]]()
    for each in BOOK[phase]["worker_runs"]:
        book[each["kind"], each["app_id"], KNOWN[each["truth"]]] += each["count"]
    return book


@FORMS
@pytest.mark.parametrize(("phase", "name"), [("text", "text/worker.log.gz"), ("incidents", "incidents/worker.log")])
def test_runs_end_as_they_did(
    phase: str,
    name: str,
    parser: Parser,
    form: Callable[[forms.Record], str],
    envelope: Callable[[str], str] | None,
) -> None:
    log = forms.rewritten(forms.read(name), form, envelope)
    assert runs(entered(parser, log)) == book_of_runs(phase)
    assert runs(entered(parser, log, 20_000)) == book_of_runs(phase)


@FORMS
def test_every_task_that_was_received_has_ended(
    parser: Parser, form: Callable[[forms.Record], str], envelope: Callable[[str], str] | None
) -> None:
    log = forms.rewritten(forms.read("text/worker.log.gz"), form, envelope)
    for size in (1 << 22, 20_000):
        counters = entered(parser, log, size).snapshot(None).counters
        ended = Counter[str]()
        for (_, task, _status), count in counters[c.TASKS].items():
            ended[task] += int(count)
        assert {task: int(count) for (_, task), count in counters[c.TASKS_RECEIVED].items()} == ended
        assert ended.total() == 128


def test_several_processes_join_as_one(tmp_path: Path) -> None:
    """The halves of a run are then parsed by different processes."""
    path, ledger = tmp_path / "worker.log", Ledger(Limits(), lambda: 1796000000.0)
    path.write_bytes(forms.read("text/worker.log.gz"))
    with ThreadPoolExecutor(2) as pool:
        workers = Threads(lambda: pool, 2)
        workers.piece_size = 20_000
        jobs = [Job(str(path), SourceConfig("dify", (), Dify()))]
        for _ in run(jobs, ledger, 1 << 20, ALWAYS, Listener(lambda _: None), workers):
            pass
    assert runs(ledger) == book_of_runs("text")


#: Of the api's whole log: the streams through nginx are 8 of chat and agent apps, 4 of completions and 1 of the web
#: app; the others are those that the book of the proxy's client has. Failed runs are blocking ones.
FAILED = {
    "text": {
        ("/v1/chat-messages", "stream_error"): 18,
        ("/v1/completion-messages", "stream_error"): 8,
        ("/api/chat-messages", "stream_error"): 1,
        ("/v1/workflows/run", "run_failed"): 14,
    },
    "incidents": {("/v1/chat-messages", "stream_error"): 1, ("/v1/workflows/run", "run_failed"): 2},
}


@FORMS
@pytest.mark.parametrize(("phase", "name"), [("text", "text/api.log.gz"), ("incidents", "incidents/api.log")])
def test_streams_fail_as_they_did(
    phase: str,
    name: str,
    parser: Parser,
    form: Callable[[forms.Record], str],
    envelope: Callable[[str], str] | None,
) -> None:
    log = forms.rewritten(forms.without_cut_access_lines(forms.read(name)), form, envelope)
    assert failed(entered(parser, log)) == FAILED[phase]
    assert failed(entered(parser, log, 20_000)) == FAILED[phase]


def test_the_client_of_the_proxy_saw_the_same_failures() -> None:
    """The second half of the logs is the traffic through the proxy, whose client kept a book of every answer."""
    first = next(line for line in forms.read("text/proxy.log.gz").split(b"\n") if b'"dify.proxy.request"' in line)
    begun = json.loads(first)["ts"][:19].replace("T", " ")
    halves = {}
    for name in ("api", "worker"):
        kept = [
            forms.text(record)
            for record in forms.records(forms.read(f"text/{name}.log.gz"))
            if not isinstance(record, str) and f"{record.date} {record.time}" >= begun
        ]
        halves[name] = entered(Dify(), ("\n".join(kept) + "\n").encode())
    book = Counter[tuple[str, str]]()
    for failure in BOOK["text"]["proxy_failures"]:
        if failure["status"] == 200 and failure["outcome"]:
            book[failure["route"], failure["outcome"].partition(":")[0]] += failure["count"]
    of_api, of_worker = failed(halves["api"]), runs(halves["worker"])
    by_status = Counter[tuple[str, str]]()
    for (kind, _, status), count in of_worker.items():
        by_status[kind, status] += count
    assert of_api["/v1/completion-messages", "stream_error"] == book["/v1/completion-messages", "error"]
    assert (
        of_api["/v1/workflows/run", "run_failed"] + by_status["workflow", "failed"]
        == book["/v1/workflows/run", "failed"]
    )
    of_openai = 1  # the book has the answer of /v1/chat/completions, a 400, and not the run behind it
    assert by_status["advanced-chat", "failed"] == book["/v1/chat-messages", "failed"] + of_openai
