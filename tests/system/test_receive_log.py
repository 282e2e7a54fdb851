"""The receiver's log on its way to the exporter: what a real Dify sent, over rotations and kills, is counted exactly."""

import os
import threading
from pathlib import Path

import pytest

from exporter import catalogue as c
from tests.parsers.tracing.spans import NATIVE, OTEL, Node, Workflow, native, otel, requests_of
from tests.parsers.tracing.writer import Writer, counted
from tests.real_dify.trace_requests import BOOKS, CHANNELS, requests
from tests.system.clients import Client
from tests.system.exporter import serving
from tests.system.programs import until
from tests.system.receiver import Receiver, facts, items, lines, receiving

SOURCE = '[[source]]\nname = "receive"\npaths = ["receive.log"]\nparser = "dify"\n'
BEGINNING = 'start_at = "beginning"'
HALF = b'{"ts":"2026-11-30T00:00:00.000Z","severity":"INFO","service":"dify-exporter-rec'


def send(receiver: Receiver, channel: str) -> None:
    for request in requests(channel):
        content_type = "application/json" if request.path.endswith("/ingestion") else "application/x-protobuf"
        status = receiver.post(request.path, request.body, Content_Type=content_type)
        assert status == (207 if request.path.endswith("/ingestion") else 200)


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_real_dify_sent_is_counted_as_in_its_books(tmp_path: Path, channel: str) -> None:
    """Everything is sent three times: before a kill, after it, and again; the exporter tails all along."""
    settings = "native = true\nlog_max_bytes = 4000\nlog_backups = 99\n"
    with receiving(tmp_path, settings) as receiver, serving(tmp_path, SOURCE, exporter_keys=BEGINNING) as exporter:
        until("the first line", lambda: exporter.value("dify_exporter_lines_total") > 0)
        send(receiver, channel)
        os.kill(receiver.worker, 9)
        send_again = until("another worker", lambda: _can_send(receiver, channel))
        assert send_again
        send(receiver, channel)
        writer = Writer()
        for request in requests(channel):
            writer.take(request.read())
        runs = sum(counted(writer.lines).counters[c.RUNS].values())
        found = [line for line in lines(receiver.log) if line["message"] != "dify.receiver.heartbeat"]
        assert len(found) == len(writer.lines)
        wanted = {
            (row["app_id"], row["model"], token_type): row[token_type]
            for row in BOOKS[channel]["tokens_that_this_channel_shows"]
            for token_type in ("input", "output")
        }
        until(
            "all lines to be counted",
            lambda: exporter.value("dify_exporter_lines_total") >= len(lines(receiver.log)),
        )
        tokens: dict[tuple[str, ...], int] = {}
        for labels, value in exporter.samples("dify_tokens_used_total"):
            key = labels["app_id"], labels["model"], labels["token_type"]
            tokens[key] = tokens.get(key, 0) + round(value)
        assert tokens == wanted
        assert exporter.value("dify_runs_total") == runs
        assert exporter.value("dify_exporter_lost_bytes_total") == 0
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0
        assert len([*tmp_path.glob("receive.log.*")]) >= 2


def test_a_run_of_two_channels_counts_once_over_a_kill_between_its_spans(tmp_path: Path) -> None:
    """The start node, which says that the two runs are one, comes to the next receiver."""
    run, app, node = (f"990e8400-0000-4000-8000-00000000000{digit}" for digit in "def")
    found = [Workflow(run, app, (Node(node, "start"),))]
    provided, (start, runner) = requests_of(otel(found, seed=2), OTEL)[0], requests_of(native(found), NATIVE)
    with serving(tmp_path, SOURCE, exporter_keys=BEGINNING) as exporter:
        for bodies in ([provided, runner], [start], [runner, provided, start]):
            with receiving(tmp_path, "native = true\n") as receiver:
                for body in bodies:
                    assert receiver.post("/v1/traces", body, Content_Type="application/x-protobuf") == 200
                receiver.kill_all()
        with receiving(tmp_path, "native = true\n") as receiver:
            until("all lines", lambda: exporter.value("dify_exporter_lines_total") == len(lines(receiver.log)))
        assert exporter.value("dify_runs_total", app_id=app) == 1
        assert exporter.value("dify_node_runs_total") == 1
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0


def _can_send(receiver: Receiver, channel: str) -> bool:
    try:
        send(receiver, channel)
    except OSError:
        return False
    return True


def test_the_exporter_loses_nothing_over_rotations_under_load(tmp_path: Path) -> None:
    settings = "log_max_bytes = 30000\nlog_backups = 900\n"
    with receiving(tmp_path, settings) as receiver, serving(tmp_path, SOURCE, exporter_keys=BEGINNING) as exporter:
        until("the first line", lambda: exporter.value("dify_exporter_lines_total") > 0)
        books = Client("otel", "otel.py", f"{receiver.url}/v1/traces", "80", "15", "0").books()["nodes"]
        assert facts(receiver.log) == books
        tokens = sum(map(sum, books.values()))
        until("all tokens", lambda: exporter.value("dify_tokens_used_total") == tokens)
        assert exporter.value("dify_node_runs_total") == len(books)
        receiver.process.stop()
        until("the last heartbeat", lambda: exporter.value("dify_receiver_items_total") == len(books))
        assert exporter.value("dify_receiver_items_total", dialect="otel", outcome="written") == len(books)
        assert len([*tmp_path.glob("receive.log.*")]) > 10
        assert exporter.value("dify_exporter_lost_bytes_total") == 0


def test_a_file_that_logrotate_renames_is_opened_again(tmp_path: Path) -> None:
    stopped = threading.Event()
    with receiving(tmp_path) as receiver, serving(tmp_path, SOURCE, exporter_keys=BEGINNING) as exporter:
        until("the first line", lambda: exporter.value("dify_exporter_lines_total") > 0)

        def rotate() -> None:
            number = 1000
            while not stopped.wait(0.05):
                number -= 1
                receiver.log.rename(receiver.log.with_name(f"receive.log.{number}"))
                until("a new file", receiver.log.exists, 30)

        thread = threading.Thread(target=rotate)
        thread.start()
        try:
            books = Client("otel", "otel.py", f"{receiver.url}/v1/traces", "60", "10", "0").books()["nodes"]
        finally:
            stopped.set()
            thread.join()
        assert facts(receiver.log) == books
        assert len([*tmp_path.glob("receive.log.*")]) > 1
        until("all tokens", lambda: exporter.value("dify_tokens_used_total") == sum(map(sum, books.values())))
        receiver.process.stop()
        assert items(receiver.log)["otel", "written"] == len(books)


def test_the_half_line_of_a_killed_receiver_is_counted_by_nobody(tmp_path: Path) -> None:
    """The exporter has read it, and waits for its end; the next receiver removes it and writes another line there."""
    with serving(tmp_path, SOURCE, exporter_keys=BEGINNING) as exporter:
        for number in range(3):
            with receiving(tmp_path) as receiver:
                books = Client("otel", "otel.py", f"{receiver.url}/v1/traces", "1", "5", "0").books()["nodes"]
                receiver.kill_all()
            whole = receiver.log.stat().st_size
            with receiver.log.open("ab") as log:
                log.write(HALF)
            until("the half line", lambda at=whole: exporter.value("dify_exporter_read_bytes_total") >= at)
            assert len(books) == 5
            assert exporter.value("dify_node_runs_total") == 5 * (number + 1)
        with receiving(tmp_path) as receiver:
            until("no half line", lambda: receiver.log.read_bytes().endswith(b"\n"))
        until("all lines", lambda: exporter.value("dify_exporter_lines_total") == len(lines(receiver.log)))
        assert exporter.value("dify_exporter_lines_total", outcome="unparsed") == 0
        assert exporter.value("dify_exporter_lost_bytes_total") == 3 * len(HALF)  # nobody has acknowledged them
