"""What an answer tells, whatever it is cut into: usage once, failures inside a 200, the first token."""

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy.response_reader import Read, ResponseReader, is_read
from parsers.access.routes import table
from parsers.dify.proxy import UsageEntry

JSON = [("Content-Type", "application/json; charset=utf-8")]
EVENTS = [("Content-Type", "text/event-stream; charset=utf-8")]

USAGE = {
    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42, "prompt_unit_price": "2", "total_price": "0.0001560",
    "currency": "USD", "latency": 1.2,
}  # fmt: skip
MESSAGE = UsageEntry(None, None, 30, 12, None, "0.000156", "USD")


def read(body: bytes, fields: list[tuple[str, str]], status_code: int = 200, size: int = 10_000) -> Read:
    reading = ResponseReader(status_code, fields)
    for at in range(0, len(body), size):
        reading.feed(body[at : at + size], float(at))
    return reading.result()


def blocking(document: Any, **given: Any) -> Read:
    return read(json.dumps(document).encode(), JSON, **given)


def stream(*events: Any, **given: Any) -> Read:
    body = b"".join(
        b"event: ping\n\n" if event is None else b"data: " + json.dumps(event).encode() + b"\n\n" for event in events
    )
    return read(body, EVENTS, **given)


def text(answer: str = "hi") -> dict[str, Any]:
    return {"event": "message", "answer": answer, "id": "m"}


def node(usage: dict[str, Any] | None, node_type: str = "llm", **more: Any) -> dict[str, Any]:
    process = {
        "model_mode": "chat",
        "prompts": [{"text": "CANARY"}],
        "usage": usage,
        "model_provider": "p",
        "model_name": "m",
    }
    data = {"node_type": node_type, "status": "succeeded", "process_data": process, "execution_metadata": {}} | more
    return {"event": "node_finished", "data": data}


def message_end(usage: dict[str, Any] | None) -> dict[str, Any]:
    return {"event": "message_end", "metadata": {"usage": usage}}


def finished(total: Any = 42, status: str = "succeeded") -> dict[str, Any]:
    return {"event": "workflow_finished", "data": {"status": status, "total_tokens": total}}


def test_a_blocking_message() -> None:
    found = blocking(
        {"event": "message", "answer": "x" * 9000, "metadata": {"usage": USAGE, "retriever_resources": []}}
    )
    assert found == Read("ok", None, (MESSAGE,), None)


def test_a_blocking_workflow_knows_only_its_total() -> None:
    found = blocking(
        {"workflow_run_id": "r", "data": {"status": "succeeded", "total_tokens": 150, "outputs": {"usage": 1}}}
    )
    assert found.usage == (UsageEntry(total_tokens=150),)
    assert found.outcome == "ok"


def test_a_failed_workflow_is_said_whatever_its_status_code() -> None:
    assert blocking({"workflow_run_id": "r", "data": {"status": "failed", "total_tokens": 3}}).outcome == "run_failed"
    assert stream(finished(3, "failed")).outcome == "run_failed"
    assert stream(finished(3, "stopped")).outcome == "ok"


def test_an_answer_in_openais_shape() -> None:
    found = blocking(
        {
            "id": "c",
            "object": "chat.completion",
            "model": "gpt-4.1",
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        }
    )
    assert found.usage == (UsageEntry(None, "gpt-4.1", 3, 4),)
    found = stream(
        {"choices": [{"delta": {"role": "assistant"}}]},
        {"choices": [{"delta": {"content": "x"}}]},
        {"choices": [], "model": "gpt-4.1", "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
    )
    assert found.usage == (UsageEntry(None, "gpt-4.1", 3, 4),)
    assert found.first_token is not None


def test_a_debugged_nodes_answer() -> None:
    document = node(USAGE)["data"] | {"id": "n"}
    assert blocking(document).usage == (UsageEntry("p", "m", 30, 12, None, "0.000156", "USD"),)


@pytest.mark.parametrize(
    "document", [[], 1, "x", None, {"metadata": []}, {"metadata": {"usage": "CANARY"}}, {"data": []}]
)
def test_other_json_tells_nothing(document: Any) -> None:
    assert blocking(document) == Read("ok", None, (), None)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"metadata":{"usage":{"prompt_tokens":' + b"9" * 5000]
)
def test_what_is_no_json_tells_nothing(body: bytes) -> None:
    assert read(body, JSON) == Read("ok", None, (), None)
    assert read(b"data: " + body + b"\n\n", EVENTS) == Read("ok", None, (), None)


def test_an_error_is_named_by_its_code_alone() -> None:
    body = {"code": "provider_quota_exceeded", "message": "CANARY", "status": 400}
    assert blocking(body, status_code=400) == Read("ok", "provider_quota_exceeded", (), None)
    assert blocking(body | {"code": "CANARY sk-123"}, status_code=400).error_code is None
    assert stream(text(), {"event": "error"} | body) == Read("stream_error", "provider_quota_exceeded", (), 0.0)
    assert stream(finished(0, "failed"), {"event": "error"} | body).outcome == "stream_error"


def test_a_chat_stream() -> None:
    assert stream(None, text(""), text(), text(), message_end(USAGE)) == Read("ok", None, (MESSAGE,), 0.0)


def test_the_first_token_is_the_first_text() -> None:
    body = b'event: ping\n\ndata: {"event": "workflow_started"}\n\ndata: {"event": "message", "answer": ""}\n\n'
    reading = ResponseReader(200, EVENTS)
    reading.feed(body, 1.0)
    assert reading.result().first_token is None
    reading.feed(b'data: {"event": "text_chunk", "data": {"text": "a"}}\n\n', 2.0)
    reading.feed(b'data: {"event": "text_chunk", "data": {"text": "b"}}\n\n', 3.0)
    assert reading.result().first_token == 2.0
    assert stream({"event": "agent_message", "answer": "a"}).first_token == 0.0
    assert stream({"event": "agent_thought", "thought": "a"}).first_token is None
    assert stream({"event": "message", "answer": "x" * 500_000}, size=65536).first_token is not None


class TestNeverTwice:
    """Nodes if any carried usage, else the message, else the workflow's total; what is left has no model."""

    ONE = UsageEntry("p", "m", 30, 12, None, "0.000156", "USD")

    def test_nodes_hold_all(self) -> None:
        assert stream(node(USAGE), text(), message_end(USAGE), finished(42)).usage == (self.ONE,)

    def test_nodes_of_one_model_are_one_entry(self) -> None:
        usage = stream(node(USAGE), node(USAGE), finished(84)).usage
        assert usage == (UsageEntry("p", "m", 60, 24, None, "0.000312", "USD"),)

    def test_models_are_told_apart(self) -> None:
        other = node(USAGE)
        other["data"]["process_data"]["model_name"] = "n"
        assert [entry.model for entry in stream(node(USAGE), other, finished(84)).usage] == ["m", "n"]

    def test_what_a_message_has_more_has_no_model(self) -> None:
        more = USAGE | {"prompt_tokens": 35, "total_tokens": 47, "total_price": "0.0002"}
        assert stream(node(USAGE), message_end(more)).usage == (
            self.ONE,
            UsageEntry(None, None, 5, 0, None, "0.000044", "USD"),
        )

    def test_what_a_workflow_has_more_is_unsplit(self) -> None:
        assert stream(node(USAGE), finished(50)).usage == (self.ONE, UsageEntry(total_tokens=8))
        assert stream(message_end(USAGE), finished(50)).usage == (MESSAGE, UsageEntry(total_tokens=8))

    def test_a_smaller_whole_takes_nothing_away(self) -> None:
        assert stream(node(USAGE), message_end(USAGE | {"prompt_tokens": 1}), finished(1)).usage == (self.ONE,)

    def test_containers_repeat_what_is_inside(self) -> None:
        inner = node(USAGE)
        outer = node(None, "iteration", execution_metadata={"total_tokens": 42}, process_data=None)
        completed = {"event": "iteration_completed", "data": {"total_tokens": 42}}
        assert stream(inner, completed, outer, finished(42)).usage == (self.ONE,)

    def test_a_workflow_used_as_a_tool_has_no_model(self) -> None:
        tool = node(None, "tool", execution_metadata={"total_tokens": 10}, process_data=None)
        assert stream(tool, finished(10)).usage == (UsageEntry(total_tokens=10),)

    def test_an_agents_usage_is_in_its_outputs(self) -> None:
        agent = node(
            None, "agent", process_data=None, outputs={"usage": USAGE}, execution_metadata={"total_tokens": 42}
        )
        assert stream(agent, finished(42)).usage == (UsageEntry(None, None, 30, 12, None, "0.000156", "USD"),)

    def test_outputs_that_only_look_like_usage(self) -> None:
        code = node(None, "code", process_data=None, outputs={"usage": USAGE})
        assert stream(code, finished(0)).usage == (UsageEntry(total_tokens=0),)

    def test_a_model_with_a_total_only(self) -> None:
        executed = {"total_tokens": 42, "total_price": "0.1", "currency": "USD"}
        assert stream(node(None, execution_metadata=executed), finished(42)).usage == (
            UsageEntry("p", "m", None, None, 42, "0.1", "USD"),
        )

    def test_simple_responses_know_the_total_only(self) -> None:
        bare = node(None, process_data=None, outputs=None, execution_metadata=None)
        assert stream(bare, text(), message_end(None), finished(42)).usage == (UsageEntry(total_tokens=42),)

    def test_fields_count_where_the_body_tells_nothing(self) -> None:
        fields = [("X-Usage-Prompt-Tokens", "3"), ("X-Usage-Completion-Tokens", "4"), ("X-Usage-Total-Price", "0.5"),
                  ("X-Usage-Currency", "USD")]  # fmt: skip
        assert read(b"{}", JSON + fields).usage == (UsageEntry(None, None, 3, 4, None, "0.5", "USD"),)
        body = json.dumps({"metadata": {"usage": USAGE}}).encode()
        assert read(body, JSON + fields).usage == (MESSAGE,)
        assert read(b"", [*fields, ("Content-Type", "audio/mpeg")]).usage != ()

    def test_many_models_stay_one_line(self) -> None:
        nodes = []
        for number in range(100):
            nodes.append(node(USAGE))
            nodes[-1]["data"]["process_data"]["model_name"] = f"m{number}" * 200
        usage = stream(*nodes, finished(4200)).usage
        assert len(usage) == 33
        assert sum(entry.input_tokens for entry in usage) == 3000
        assert max(len(entry.model or "") for entry in usage) == 128


def test_zero_and_wrong_counts_stay_for_the_reader_to_say() -> None:
    assert stream(message_end(USAGE | {"prompt_tokens": 0, "completion_tokens": 0, "total_price": "0E-7"})).usage == (
        UsageEntry(None, None, 0, 0, None, "0", "USD"),
    )
    for wrong in (-5, "12", 1.5, True, 10**13, {"CANARY": 1}, []):
        (entry,) = stream(message_end(USAGE | {"completion_tokens": wrong})).usage
        assert (entry.input_tokens, entry.output_tokens) == (30, -1)


def test_scientific_prices_are_read_and_written_plainly() -> None:
    (entry,) = stream(message_end(USAGE | {"total_price": "5E-7"})).usage
    assert entry.total_price == "0.0000005"
    (entry,) = stream(message_end(USAGE | {"total_price": "1E-999999"})).usage
    assert entry.total_price == "0"


@given(st.integers(1, 40))
def test_pieces_make_no_difference(size: int) -> None:
    events = [None, text(), node(USAGE), text('é\\"\n' * 300), message_end(USAGE), finished(50)]
    assert stream(*events, size=size).usage == stream(*events).usage
    assert len(stream(*events).usage) == 2


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip"])
def test_compressed_bodies(coding: str, size: int) -> None:
    pack = zlib.compress if coding == "deflate" else gzip.compress
    body = pack(json.dumps({"metadata": {"usage": USAGE}}).encode())
    assert read(body, [*JSON, ("Content-Encoding", coding)], size=size).usage == (MESSAGE,)
    events = pack(b"data: " + json.dumps(message_end(USAGE)).encode() + b"\r\n\r\n")
    assert read(events, [*EVENTS, ("Content-Encoding", coding)], size=size).usage == (MESSAGE,)


@pytest.mark.parametrize("odd", [[], {}, [1], 10**400, "a" * 600, None])
@pytest.mark.parametrize("name", ["event", "data", "metadata", "choices", "model", "usage", "code", "node_type"])
def test_a_value_of_another_type_stops_no_answer(name: str, odd: Any) -> None:
    chunk = {"choices": [{"delta": {"content": "x"}}], "model": "m", "usage": USAGE}
    for event in (text(), node(USAGE), finished(), message_end(USAGE), {"event": "error", "code": "a"}, chunk):
        assert stream(event | {name: odd}, message_end(USAGE)).usage
        told = event["data"] if isinstance(event.get("data"), dict) else {}
        assert stream(event | {"data": told | {name: odd}}, message_end(USAGE)).usage
        assert blocking(event | {name: odd}).outcome in ("ok", "run_failed")
        assert blocking(told | {name: odd}).outcome in ("ok", "run_failed")


def test_codings_that_cannot_be_read_tell_nothing() -> None:
    assert read(b"\x1b\x03\x00", [*JSON, ("Content-Encoding", "br")]) == Read("ok", None, (), None)
    assert read(b"not gzip", [*JSON, ("Content-Encoding", "gzip")]) == Read("ok", None, (), None)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip_in_members(size: int) -> None:
    body = json.dumps({"metadata": {"usage": USAGE}}).encode()
    packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert read(packed, [*JSON, ("Content-Encoding", "gzip")], size=size).usage == (MESSAGE,)


def test_what_follows_a_compressed_body_is_not_kept() -> None:
    reading = ResponseReader(200, [*JSON, ("Content-Encoding", "gzip")])
    reading.feed(gzip.compress(json.dumps({"metadata": {"usage": USAGE}}).encode()), 0.0)
    tracemalloc.start()
    for _ in range(100):
        reading.feed(b"x" * 65536, 0.0)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert reading.result().usage == (MESSAGE,)


def test_a_compression_bomb_is_read_in_small_pieces() -> None:
    body = gzip.compress(b'{"answer": "' + b"a" * 50_000_000 + b'", "metadata": {"usage": {"total_tokens": 7}}}')
    assert read(body, [*JSON, ("Content-Encoding", "gzip")]).usage == (UsageEntry(total_tokens=7),)


@pytest.mark.parametrize(
    ("method", "route", "status_code", "expected"),
    [
        ("POST", "/v1/chat-messages", 200, True),
        ("POST", "/console/api/apps/{app_id}/workflows/draft/run", 200, True),
        ("POST", "other", 200, True),  # a gateway of somebody else's
        ("GET", "/v1/chat-messages", 200, False),
        ("GET", "/v1/workflows/run/{workflow_run_id}", 200, False),  # repeats a run that was counted
        ("POST", "/v1/messages/{message_id}/feedbacks", 200, False),
        ("GET", "/v1/parameters", 404, True),
    ],
)
def test_only_answers_that_can_tell_something_are_read(
    method: str, route: str, status_code: int, expected: bool
) -> None:
    assert is_read(method, table().information(route), status_code) is expected
