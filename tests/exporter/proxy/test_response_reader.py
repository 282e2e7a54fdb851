"""What is read from a response, for every size of the pieces: usage once, failures inside a 200, the first token."""

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy.response_reader import ResponseReader, ResponseSummary, is_worth_reading
from parsers.access.routes import table
from parsers.dify.proxy import UsageEntry

JSON = [("Content-Type", "application/json; charset=utf-8")]
EVENTS = [("Content-Type", "text/event-stream; charset=utf-8")]

USAGE = {
    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42, "prompt_unit_price": "2", "total_price": "0.0001560",
    "currency": "USD", "latency": 1.2,
}  # fmt: skip
MESSAGE = UsageEntry(None, None, 30, 12, None, "0.000156", "USD")


def read(body: bytes, fields: list[tuple[str, str]], status_code: int = 200, size: int = 10_000) -> ResponseSummary:
    reader = ResponseReader(status_code, fields)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size], float(at))
    return reader.result()


def blocking(document: Any, **given: Any) -> ResponseSummary:
    return read(json.dumps(document).encode(), JSON, **given)


def stream(*events: Any, **given: Any) -> ResponseSummary:
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
    assert found == ResponseSummary("ok", None, (MESSAGE,), None)


def test_a_blocking_workflow_has_only_a_total() -> None:
    found = blocking(
        {"workflow_run_id": "r", "data": {"status": "succeeded", "total_tokens": 150, "outputs": {"usage": 1}}}
    )
    assert found.usage == (UsageEntry(total_tokens=150),)
    assert found.outcome == "ok"


def test_a_failed_workflow_is_reported_inside_a_200() -> None:
    assert blocking({"workflow_run_id": "r", "data": {"status": "failed", "total_tokens": 3}}).outcome == "run_failed"
    assert stream(finished(3, "failed")).outcome == "run_failed"
    assert stream(finished(3, "stopped")).outcome == "ok"


def test_a_response_in_openais_shape() -> None:
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
    assert found.first_token_at is not None


def test_the_response_of_a_single_node() -> None:
    document = node(USAGE)["data"] | {"id": "n"}
    assert blocking(document).usage == (UsageEntry("p", "m", 30, 12, None, "0.000156", "USD"),)


@pytest.mark.parametrize(
    "document", [[], 1, "x", None, {"metadata": []}, {"metadata": {"usage": "CANARY"}}, {"data": []}]
)
def test_other_json_reports_nothing(document: Any) -> None:
    assert blocking(document) == ResponseSummary("ok", None, (), None)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"metadata":{"usage":{"prompt_tokens":' + b"9" * 5000]
)
def test_invalid_json_reports_nothing(body: bytes) -> None:
    assert read(body, JSON) == ResponseSummary("ok", None, (), None)
    assert read(b"data: " + body + b"\n\n", EVENTS) == ResponseSummary("ok", None, (), None)


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b'"a \\uDC00 b"', b"NaN", b"[-Infinity]", b"1e999", b'"\xff"'])
def test_an_odd_value_in_an_answer_hides_nothing(odd: bytes) -> None:
    """Dify writes a blocking answer by json.dumps (api/libs/helper.py), which knows values that JSON does not."""
    message = b'{"answer":%s,"mode":"chat","metadata":{"usage":%s}}' % (odd, json.dumps(USAGE).encode())
    for body in (message, b"\xef\xbb\xbf" + message):
        assert read(body, JSON).usage == (MESSAGE,)
    failed = b'{"workflow_run_id":"w","data":{"status":"failed","outputs":{"x":%s},"error":"x","total_tokens":3}}' % odd
    assert read(failed, JSON).outcome == "run_failed"
    quota = b'{"code":"provider_quota_exceeded","message":"x","more":%s}' % odd
    assert read(quota, JSON, 400).error_kind == "quota_exceeded"
    error = b'data: {"event":"error","code":"provider_quota_exceeded","more":%s}\n\n' % odd
    assert read(error, EVENTS).error_kind == "quota_exceeded"


def test_an_error_is_reported_by_its_code_only() -> None:
    body = {"code": "provider_quota_exceeded", "message": "CANARY", "status": 400}
    quota = "provider_quota_exceeded", (), None, "quota_exceeded"
    assert blocking(body, status_code=400) == ResponseSummary("ok", *quota)
    for odd in ("CANARY sk-123", "canary", "a" * 64, "provider_quota_exceeded "):
        assert blocking(body | {"code": odd}, status_code=400) == ResponseSummary("ok", "other", (), None)
    assert stream({"event": "error"} | body) == ResponseSummary("stream_error", *quota)
    assert stream(finished(0, "failed"), {"event": "error"} | body).outcome == "stream_error"


def test_a_chat_stream() -> None:
    assert stream(None, text(""), text(), text(), message_end(USAGE)) == ResponseSummary("ok", None, (MESSAGE,), 0.0)


def test_the_first_token_is_the_first_text() -> None:
    body = b'event: ping\n\ndata: {"event": "workflow_started"}\n\ndata: {"event": "message", "answer": ""}\n\n'
    reader = ResponseReader(200, EVENTS)
    reader.feed(body, 1.0)
    assert reader.result().first_token_at is None
    reader.feed(b'data: {"event": "text_chunk", "data": {"text": "a"}}\n\n', 2.0)
    reader.feed(b'data: {"event": "text_chunk", "data": {"text": "b"}}\n\n', 3.0)
    assert reader.result().first_token_at == 2.0
    assert stream({"event": "agent_message", "answer": "a"}).first_token_at == 0.0
    assert stream({"event": "agent_thought", "thought": "a"}).first_token_at is None
    assert stream({"event": "message", "answer": "x" * 500_000}, size=65536).first_token_at is not None


class TestCountedOnce:
    """The usage of nodes is counted first, then the rest of the message and of the workflow, without a model."""

    ONE = UsageEntry("p", "m", 30, 12, None, "0.000156", "USD")

    def test_nodes_include_everything(self) -> None:
        assert stream(node(USAGE), text(), message_end(USAGE), finished(42)).usage == (self.ONE,)

    def test_nodes_of_one_model_are_one_entry(self) -> None:
        usage = stream(node(USAGE), node(USAGE), finished(84)).usage
        assert usage == (UsageEntry("p", "m", 60, 24, None, "0.000312", "USD"),)

    def test_each_model_is_an_entry(self) -> None:
        other = node(USAGE)
        other["data"]["process_data"]["model_name"] = "n"
        assert [entry.model for entry in stream(node(USAGE), other, finished(84)).usage] == ["m", "n"]

    def test_the_rest_of_a_message_has_no_model(self) -> None:
        more = USAGE | {"prompt_tokens": 35, "total_tokens": 47, "total_price": "0.0002"}
        assert stream(node(USAGE), message_end(more)).usage == (
            self.ONE,
            UsageEntry(None, None, 5, 0, None, "0.000044", "USD"),
        )

    def test_the_rest_of_a_workflow_is_unsplit(self) -> None:
        assert stream(node(USAGE), finished(50)).usage == (self.ONE, UsageEntry(total_tokens=8))
        assert stream(message_end(USAGE), finished(50)).usage == (MESSAGE, UsageEntry(total_tokens=8))

    def test_a_smaller_total_subtracts_nothing(self) -> None:
        assert stream(node(USAGE), message_end(USAGE | {"prompt_tokens": 1}), finished(1)).usage == (self.ONE,)

    def test_the_usage_of_containers_is_ignored(self) -> None:
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

    def test_outputs_of_a_code_node_are_no_usage(self) -> None:
        code = node(None, "code", process_data=None, outputs={"usage": USAGE})
        assert stream(code, finished(0)).usage == (UsageEntry(total_tokens=0),)

    def test_a_model_with_a_total_only(self) -> None:
        executed = {"total_tokens": 42, "total_price": "0.1", "currency": "USD"}
        assert stream(node(None, execution_metadata=executed), finished(42)).usage == (
            UsageEntry("p", "m", None, None, 42, "0.1", "USD"),
        )

    def test_simple_responses_have_only_a_total(self) -> None:
        bare = node(None, process_data=None, outputs=None, execution_metadata=None)
        assert stream(bare, text(), message_end(None), finished(42)).usage == (UsageEntry(total_tokens=42),)

    def test_header_fields_apply_if_the_body_has_no_usage(self) -> None:
        fields = [("X-Usage-Prompt-Tokens", "3"), ("X-Usage-Completion-Tokens", "4"), ("X-Usage-Total-Price", "0.5"),
                  ("X-Usage-Currency", "USD")]  # fmt: skip
        assert read(b"{}", JSON + fields).usage == (UsageEntry(None, None, 3, 4, None, "0.5", "USD"),)
        body = json.dumps({"metadata": {"usage": USAGE}}).encode()
        assert read(body, JSON + fields).usage == (MESSAGE,)
        assert read(b"", [*fields, ("Content-Type", "audio/mpeg")]).usage != ()

    def test_calls_with_and_without_a_split_are_separate_entries(self) -> None:
        """Their sum would look inconsistent."""
        total_only = node(None, execution_metadata={"total_tokens": 42})
        assert stream(node(USAGE), total_only, finished(84)).usage == (self.ONE, UsageEntry("p", "m", total_tokens=42))

    def test_many_models_are_bounded(self) -> None:
        nodes = []
        for number in range(100):
            nodes.append(node(USAGE))
            nodes[-1]["data"]["process_data"]["model_name"] = f"m{number}" * 200
        usage = stream(*nodes, finished(4200)).usage
        assert len(usage) == 33
        assert sum(entry.input_tokens for entry in usage) == 3000
        assert max(len(entry.model or "") for entry in usage) == 128


NOTHING = USAGE | dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0) | {"total_price": "0E-7"}
STARTED = {"event": "workflow_started", "data": {"id": "r"}}
CODE = node(None, "code", process_data={}, outputs={"result": 1})
#: The usage of a run that called no model.
NO_MODEL = (UsageEntry(total_tokens=0),)


class TestMissingUsage:
    """A run without a model need not report usage; a model that succeeded must."""

    def test_a_workflow_without_a_model(self) -> None:
        assert stream(STARTED, CODE, finished(0)).usage == NO_MODEL
        assert blocking({"workflow_run_id": "r", "data": {"status": "succeeded", "total_tokens": 0}}).usage == NO_MODEL
        assert (
            blocking({"workflow_run_id": "r", "data": {"status": "succeeded", "total_tokens": None}}).usage == NO_MODEL
        )

    def test_a_chatflow_without_a_model(self) -> None:
        for usage in (NOTHING, None):
            assert stream(STARTED, CODE, text(), message_end(usage), finished(0)).usage == NO_MODEL
            body = {"event": "message", "mode": "advanced-chat", "answer": "a", "metadata": {"usage": usage}}
            assert blocking(body).usage == NO_MODEL

    def test_a_run_that_waits_for_a_person(self) -> None:
        assert stream(STARTED, CODE, {"event": "workflow_paused", "data": {"status": "paused"}}).usage == NO_MODEL
        paused = {"event": "workflow_paused", "workflow_run_id": "r", "data": {"status": "paused", "total_tokens": 0}}
        assert blocking(paused).usage == NO_MODEL

    def test_a_model_that_failed(self) -> None:
        for status in ("failed", "exception"):
            assert stream(STARTED, node(NOTHING, status=status), finished(0)).usage == NO_MODEL
            assert stream(STARTED, node(None, status=status), finished(0)).usage == NO_MODEL
        assert stream(STARTED, node(USAGE, status="failed"), finished(42)).usage[0].input_tokens == 30

    def test_a_model_that_succeeded_must_report_usage(self) -> None:
        assert stream(STARTED, node(None), finished(0)).usage == (UsageEntry("p", "m"),)
        assert stream(STARTED, node(NOTHING), finished(0)).usage == (UsageEntry("p", "m", 0, 0, None, "0", "USD"),)

    def test_a_chat_must_report_usage(self) -> None:
        assert stream(text(), message_end(NOTHING)).usage == (UsageEntry(None, None, 0, 0, None, "0", "USD"),)
        assert stream(text(), message_end(None)).usage == ()
        assert blocking({"event": "message", "mode": "chat", "answer": "a", "metadata": {}}).usage == ()


@pytest.mark.parametrize("total", [50, 41])
def test_a_total_that_is_not_the_sum_of_its_parts(total: int) -> None:
    (entry,) = stream(message_end(USAGE | {"total_tokens": total})).usage
    assert entry.token_counts.missing == "inconsistent"
    assert entry.token_counts.split == (30, 12, 8 if total == 50 else None)
    (entry,) = stream(node(USAGE | {"total_tokens": total}), finished(total)).usage
    assert entry.token_counts.missing == "inconsistent"
    assert entry.token_counts.split == (30, 12, 8 if total == 50 else None)


@pytest.mark.parametrize("odd", ["CANARY", "US", "U5D", "USD ", "", 5, None, ["USD"], "x" * 500])
def test_an_invalid_currency_is_dropped(odd: object) -> None:
    (entry,) = stream(message_end(USAGE | {"currency": odd})).usage
    assert (entry.price, entry.currency) == ("0.000156", None)


def plugin_error(text: str) -> str:
    """PluginInvokeError.description (api/core/plugin/impl/exc.py), in the daemon's JSON."""
    description = {"args": {"description": text}, "error_type": "InvokeError", "message": text}
    return json.dumps(description, separators=(",", ":"))


RATE_LIMITED = plugin_error('[models] Error: API request failed with status code 429: {"error": "CANARY"}')
REFUSED = plugin_error("[models] Error: API request failed with status code 401: CANARY")


class TestCauses:
    """Each request has at most one cause of its failure."""

    def error(self, message: str, code: str = "invalid_param") -> dict[str, Any]:
        return {"event": "error", "code": code, "status": 400, "message": message}

    def test_an_error_response(self) -> None:
        body = {
            "code": "invalid_param",
            "status": 400,
            "message": f"req_id: 83e845f0fb PluginInvokeError: {RATE_LIMITED}",
        }
        assert blocking(body, status_code=400) == ResponseSummary("ok", "invalid_param", (), None, "rate_limited")
        limit = "Too many requests. Please try again later. The current maximum concurrent requests allowed for CANARY is 2."
        assert blocking(body | {"message": limit}, status_code=400).error_kind == "concurrency_limit"
        assert blocking(body | {"message": "CANARY"}, status_code=400).error_kind is None
        assert blocking(body | {"code": "unauthorized"}, status_code=401).error_kind is None

    def test_an_error_event(self) -> None:
        """Its message is only the description of the exception (base_app_generate_response_converter.py)."""
        assert stream(text(), self.error(RATE_LIMITED)) == ResponseSummary(
            "stream_error", "invalid_param", (), 0.0, "rate_limited"
        )
        assert stream(self.error("x", "provider_quota_exceeded")).error_kind == "quota_exceeded"
        assert (
            stream(self.error("[a] Connection Error, x", "completion_request_error")).error_kind
            == "provider_unavailable"
        )
        assert stream(self.error("CANARY")).error_kind is None
        assert stream(self.error("x", "internal_server_error")) == ResponseSummary(
            "stream_error", "internal_server_error", (), None
        )

    def test_a_failed_run(self) -> None:
        failed = {"status": "failed", "total_tokens": 0, "error": f"req_id: 9e1e2daabe PluginInvokeError: {REFUSED}"}
        assert blocking({"workflow_run_id": "r", "data": failed}) == ResponseSummary(
            "run_failed", None, NO_MODEL, None, "provider_unauthorized"
        )
        assert stream(STARTED, {"event": "workflow_finished", "data": failed}).error_kind == "provider_unauthorized"
        own = failed | {"error": "ValueError: CANARY"}
        assert blocking({"workflow_run_id": "r", "data": own}) == ResponseSummary("run_failed", None, NO_MODEL, None)

    def test_a_run_that_succeeded_partially(self) -> None:
        exception = node(None, status="exception", error=f"req_id:  PluginInvokeError: {RATE_LIMITED}")
        found = stream(STARTED, exception, finished(0, "partial-succeeded"))
        assert found == ResponseSummary("ok", None, NO_MODEL, None, "rate_limited")

    def test_a_retried_model_has_not_failed(self) -> None:
        retried = node(USAGE, error=f"req_id:  PluginInvokeError: {RATE_LIMITED}")
        assert stream(STARTED, retried | {"event": "node_retry"}, node(USAGE), finished(42)).error_kind is None
        assert stream(STARTED, retried, finished(42)).error_kind is None

    def test_the_first_cause_is_reported(self) -> None:
        """A chatflow repeats a node's error as the run's, and as an error event (advanced_chat/generate_task_pipeline.py)."""
        text_of_node = f"req_id: a PluginInvokeError: {REFUSED}"
        failed = {"event": "workflow_finished", "data": {"status": "failed", "total_tokens": 0, "error": text_of_node}}
        nodes = node(None, status="failed", error=text_of_node), node(None, status="failed", error=RATE_LIMITED)
        found = stream(STARTED, *nodes, failed, self.error(f"Run failed: {text_of_node}"))
        assert (found.outcome, found.error_kind) == ("stream_error", "provider_unauthorized")

    @pytest.mark.parametrize("size", [1, 700, 10_000, 10**6])
    @pytest.mark.parametrize("length", [100, 2000, 5000, 150_000])
    def test_only_the_beginning_of_a_long_text_is_read(self, length: int, size: int) -> None:
        message = f"req_id: a PluginInvokeError: {plugin_error('[m] Error: Error code: 429 - ' + 'CANARY é“' * length)}"
        document = {"code": "invalid_param", "status": 400, "message": message, "params": "x" * 600}
        if size > 1 or length < 5000:
            assert blocking(document, status_code=400, size=size).error_kind == "rate_limited"
            assert stream({"event": "error"} | document, size=size).error_kind == "rate_limited"


CANARIES = [
    "CANARY", "canary", "CANARY\n", "provider_quota_exceeded CANARY", "USD CANARY", f"req_id: a PluginInvokeError: {RATE_LIMITED}",
    "Model CANARY not exist.", "Too many requests. Please try again later. CANARY", {"CANARY": "CANARY"}, ["CANARY"],
]  # fmt: skip
#: Names of models are labels.
NAMES = {"model_name", "model_provider", "model"}


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values that are no objects."""
    if isinstance(document, dict):
        return [leaf for name, value in document.items() for leaf in leaves(value, (*path, name))]
    return [path]


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:
    return {**document, path[0]: replaced(document[path[0]], path[1:], value)} if path else value


FAILED = node(USAGE, status="failed", error="e", title="t", id="i", inputs={"q": "q"})
BODIES = [
    {"event": "message", "id": "m", "mode": "chat", "answer": "a", "conversation_id": "c", "metadata": {"usage": USAGE}},
    {"workflow_run_id": "r", "task_id": "t", "data": {"id": "r", "status": "failed", "error": "e", "outputs": {"a": "b"}, "total_tokens": 1}},
    {"code": "invalid_param", "message": "m", "status": 400, "params": "p"},
    {"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": USAGE, "user": "u"},
    FAILED["data"],
]  # fmt: skip
EVENTS_OF_RUN = [FAILED, message_end(USAGE), finished(1, "failed"), text(), BODIES[2] | {"event": "error"}]


@pytest.mark.parametrize("canary", CANARIES, ids=range(len(CANARIES)))
def test_no_text_of_dify_or_a_user_is_reported(canary: Any) -> None:
    for status_code, body in [(200, body) for body in BODIES] + [(400, body) for body in BODIES]:
        for path in leaves(body):
            found = blocking(replaced(body, path, canary), status_code=status_code)
            assert path[-1] in NAMES or "canary" not in repr(found).lower()
    for event in EVENTS_OF_RUN:
        for path in leaves(event):
            found = stream(replaced(event, path, canary), {"event": "error", "code": canary, "message": canary})
            assert path[-1] in NAMES or "canary" not in repr(found).lower()
    if isinstance(canary, str):
        for name in ("X-Usage-Total-Tokens", "X-Usage-Total-Price", "X-Usage-Currency"):
            fields = [*JSON, ("X-Usage-Input-Tokens", "3"), (name, canary)]
            assert "canary" not in repr(read(b"{}", fields)).lower()


def test_zero_and_invalid_counts_are_logged() -> None:
    nothing = USAGE | {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "total_price": "0E-7"}
    assert stream(message_end(nothing)).usage == (UsageEntry(None, None, 0, 0, None, "0", "USD"),)
    for wrong in (-5, "12", 1.5, True, 10**13, {"CANARY": 1}, []):
        (entry,) = stream(message_end(USAGE | {"completion_tokens": wrong})).usage
        assert (entry.input_tokens, entry.output_tokens) == (30, -1)


def test_prices_in_scientific_notation_are_logged_as_decimals() -> None:
    (entry,) = stream(message_end(USAGE | {"total_price": "5E-7"})).usage
    assert entry.price == "0.0000005"
    (entry,) = stream(message_end(USAGE | {"total_price": "1E-999999"})).usage
    assert entry.price == "0"


@given(st.integers(1, 40))
def test_the_size_of_the_pieces_has_no_effect(size: int) -> None:
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
def test_a_value_of_another_type_does_no_harm(name: str, odd: Any) -> None:
    chunk = {"choices": [{"delta": {"content": "x"}}], "model": "m", "usage": USAGE}
    for event in (text(), node(USAGE), finished(), message_end(USAGE), {"event": "error", "code": "a"}, chunk):
        assert stream(event | {name: odd}, message_end(USAGE)).usage
        data = event["data"] if isinstance(event.get("data"), dict) else {}
        assert stream(event | {"data": data | {name: odd}}, message_end(USAGE)).usage
        assert blocking(event | {name: odd}).outcome in ("ok", "run_failed")
        assert blocking(data | {name: odd}).outcome in ("ok", "run_failed")


def test_unsupported_codings_report_nothing() -> None:
    assert read(b"\x1b\x03\x00", [*JSON, ("Content-Encoding", "br")]) == ResponseSummary("ok", None, (), None)
    assert read(b"not gzip", [*JSON, ("Content-Encoding", "gzip")]) == ResponseSummary("ok", None, (), None)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip_with_several_members(size: int) -> None:
    body = json.dumps({"metadata": {"usage": USAGE}}).encode()
    packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert read(packed, [*JSON, ("Content-Encoding", "gzip")], size=size).usage == (MESSAGE,)


def test_bytes_after_a_compressed_body_are_not_stored() -> None:
    reader = ResponseReader(200, [*JSON, ("Content-Encoding", "gzip")])
    reader.feed(gzip.compress(json.dumps({"metadata": {"usage": USAGE}}).encode()), 0.0)
    tracemalloc.start()
    for _ in range(100):
        reader.feed(b"x" * 65536, 0.0)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert reader.result().usage == (MESSAGE,)


def test_a_compression_bomb_is_read_in_small_pieces() -> None:
    body = gzip.compress(b'{"answer": "' + b"a" * 20_000_000 + b'", "metadata": {"usage": {"total_tokens": 7}}}')
    assert read(body, [*JSON, ("Content-Encoding", "gzip")]).usage == (UsageEntry(total_tokens=7),)


@pytest.mark.parametrize(
    ("method", "route", "status_code", "expected"),
    [
        ("POST", "/v1/chat-messages", 200, True),
        ("POST", "/console/api/apps/{app_id}/workflows/draft/run", 200, True),
        ("POST", "other", 200, True),  # another API behind the same proxy
        ("GET", "/v1/chat-messages", 200, False),
        ("GET", "/v1/workflows/run/{workflow_run_id}", 200, False),  # repeats a run that was counted
        ("POST", "/v1/messages/{message_id}/feedbacks", 200, False),
        ("GET", "/v1/parameters", 404, True),
    ],
)
def test_only_responses_that_may_report_something_are_read(
    method: str, route: str, status_code: int, expected: bool
) -> None:
    assert is_worth_reading(method, table().information(route), status_code) is expected
