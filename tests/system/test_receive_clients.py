"""The clients that Dify uses, against the real receiver: what they believe to have sent is in the log, each fact once."""

import os
import signal
from pathlib import Path

import pytest

from tests.system.clients import Client
from tests.system.programs import until
from tests.system.receive_soak import Terms, kill_again_and_again
from tests.system.receiver import breaking_link, facts, items, lines, receiving

OTEL = pytest.mark.parametrize("version", ["otel-1.41", "otel"])


@OTEL
def test_opentelemetry(tmp_path: Path, version: str) -> None:
    (tmp_path / "token").write_text("secret\n")
    with receiving(tmp_path, 'token_file = "token"\n') as receiver:
        client = Client(version, "otel.py", f"{receiver.url}/v1/traces", "20", "5", "100", "secret")
        books = client.books()
        assert books["abandoned"] == 0
        assert facts(receiver.log) == books["nodes"]
        receiver.process.stop()
        assert items(receiver.log) == {("otel", "written"): 100, ("none", "ignored"): 2000}


@OTEL
def test_opentelemetry_through_a_breaking_link(tmp_path: Path, version: str) -> None:
    with receiving(tmp_path) as receiver, breaking_link(receiver) as (url, done):
        books = Client(version, "otel.py", f"{url}/v1/traces", "25", "5", "5").books()
        assert min(done["503"], done["reset before"], done["reset after"]) > 0
        assert facts(receiver.log) == books["nodes"]
        receiver.process.stop()
        found = items(receiver.log)
        assert found["otel", "written"] == len(books["nodes"])
        assert found["otel", "duplicate"] >= 5  # what was written before a reset


@OTEL
def test_the_final_heartbeat_has_all_items(tmp_path: Path, version: str) -> None:
    with receiving(tmp_path) as receiver:
        Client(version, "otel.py", f"{receiver.url}/v1/traces", "1", "1", "0").books()
        os.kill(receiver.process.pid, signal.SIGTERM)
        assert receiver.process.ended() == 0
        assert lines(receiver.log)[-1]["message"] == "dify.receiver.heartbeat"
        assert items(receiver.log)["otel", "written"] == 1


def test_a_reload_of_the_server_leads_to_no_second_writer(tmp_path: Path) -> None:
    """SIGHUP starts another worker beside the old one: it waits for the log, and then knows what is in it."""
    with receiving(tmp_path) as receiver:
        client = Client("otel", "otel.py", f"{receiver.url}/v1/traces", "60", "5", "0")
        for _ in range(3):
            worker = receiver.worker
            receiver.process.send(signal.SIGHUP)
            until("another worker", lambda old=worker: receiver.worker != old)
        assert facts(receiver.log).items() <= client.books()["nodes"].items()
        receiver.process.stop()
        assert items(receiver.log)["otel", "written"] == len(facts(receiver.log)) == 300


def test_langfuse(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    with receiving(tmp_path, 'token_file = "token"\n') as receiver:
        books = Client("langfuse", "langfuse_sdk.py", receiver.url, "30", "secret").books()
        assert (books["failed"], books["project"]) == (0, "dify-exporter")
        assert facts(receiver.log) == books["messages"]
        assert b"CANARY" not in receiver.log.read_bytes()


def test_the_spans_of_the_langfuse_client(tmp_path: Path) -> None:
    """Each node comes at two paths and counts once. The client's own observations are ignored, and that can be seen."""
    with receiving(tmp_path, "native = true\n") as receiver:
        books = Client("langfuse", "langfuse_otel.py", receiver.url, "30", "5", "any").books()
        assert facts(receiver.log) == books["nodes"]
        receiver.process.stop()
        found = items(receiver.log)
        assert (found["native", "written"], found["native", "duplicate"]) == (30, 30)
        assert found["langfuse", "ignored"] == 2 * 5  # both exporters send them
        assert set(found) == {("native", "written"), ("native", "duplicate"), ("langfuse", "ignored")}
        assert b"CANARY" not in receiver.log.read_bytes()


def test_langfuse_through_a_breaking_link(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, breaking_link(receiver, seed=3) as (url, done):
        books = Client("langfuse", "langfuse_sdk.py", url, "30", "any").books()
        assert min(done["503"], done["reset before"], done["reset after"]) > 0
        assert facts(receiver.log) == books["messages"]


def test_killed_again_and_again(tmp_path: Path) -> None:
    """With the client that Dify uses. The test of the breaking link shows that the newest client sends again."""
    found = kill_again_and_again(tmp_path, Terms(kills=4, seconds=1.0, client="otel-1.41"))
    assert found.exact, found
