"""Failures in Dify's bodies, through the running proxy and the running exporter: each reason and each cause once.

The bodies are those of tests/cases/41-streamed-error-codes/up.py, and others with the shapes of api/libs/external_api.py
(blocking), api/core/app/apps/base_app_generate_response_converter.py (`error` events) and
api/core/plugin/impl/exc.py (the text of a plugin's error).
"""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from tests.system.exporter import serving
from tests.system.programs import until
from tests.system.proxy import Proxy, proxying, recording

SECRET = "CANARY sk-CANARY-key user@CANARY.example"


def plugin_error(text: str, error_type: str = "InvokeError") -> str:
    description = {"args": {"description": f"{text}{SECRET}"}, "error_type": error_type, "message": f"{text}{SECRET}"}
    return json.dumps(description, separators=(",", ":"))


def status(code: int) -> str:
    return plugin_error(f"[models] Error: API request failed with status code {code}: ")


def refusal(code: str, message: str, status_code: int = 400) -> bytes:
    """A blocking answer."""
    body = json.dumps({"code": code, "message": message, "status": status_code, "params": SECRET}).encode()
    return b"HTTP/1.1 %d CANARY\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status_code, len(body), body,
    )  # fmt: skip


def invoke_error(description: str) -> bytes:
    return refusal("invalid_param", f"req_id: 83e845f0fb PluginInvokeError: {description}")


def document(body: dict[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


def events(*found: dict[str, Any], end: str = "\n\n", size: int = 10_000) -> bytes:
    """A stream; `size` is that of a chunk."""
    text = "".join(f"data: {json.dumps(event, ensure_ascii=False)}{end}" for event in found).encode()
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"


def error(code: str, message: str = SECRET) -> dict[str, Any]:
    return {
        "event": "error",
        "conversation_id": SECRET,
        "message_id": SECRET,
        "code": code,
        "status": 400,
        "message": message,
    }


def run(status: str, message: str | None = None, total: int = 0) -> dict[str, Any]:
    return {"id": "r", "workflow_id": SECRET, "status": status, "outputs": {"text": SECRET}, "error": message,
            "elapsed_time": 1.2, "total_tokens": total, "total_steps": 2}  # fmt: skip


def node(status: str, message: str) -> dict[str, Any]:
    return {"event": "node_finished", "data": {"node_type": "llm", "status": status, "error": message, "elapsed_time": 1.0,
            "inputs": {"text": SECRET}, "execution_metadata": None, "process_data": {}}}  # fmt: skip


MESSAGE = {"event": "message", "answer": "漢字 CANARY"}
END = {"event": "message_end", "metadata": {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
       "total_price": "0.001", "currency": "USD"}}}  # fmt: skip
STARTED = {
    "event": "workflow_started",
    "task_id": "t",
    "workflow_run_id": "r",
    "data": {"id": "r", "inputs": {"q": SECRET}},
}
AS_TEXT = f"req_id: 9e1e2daabe PluginInvokeError: {status(429)}"

#: Case, Dify's answer, and the reason and the cause that it has, each "" where there is none.
CASES = {
    # tests/cases/41-streamed-error-codes
    "err": (events(error("completion_request_error", '[tongyi] Error: PluginInvokeError: {"error_type":"ServiceUnavailableError"}')), "stream_error", "provider_error"),
    "quota": (events(MESSAGE, error("provider_quota_exceeded")), "stream_error", "quota_exceeded"),
    "wf200": (document({"workflow_run_id": "r", "data": run("failed", "req_id: 9e1e2daabe PluginInvokeError: {...}")}), "run_failed", "provider_error"),
    "wfsse": (events(STARTED, node("failed", "x"), {"event": "workflow_finished", "data": run("partial-succeeded", total=17)}), "", ""),
    "crlf": (events(MESSAGE, END, end="\r\n\r\n"), "", ""),
    "split": (events(MESSAGE, END, size=7), "", ""),
    "not initialized": (refusal("provider_not_initialize", SECRET), "not_initialized", "not_initialized"),
    # A real Dify 1.14, blocking.
    "429": (invoke_error(status(429)), "provider_error", "rate_limited"),
    "500": (invoke_error(status(500)), "provider_error", "provider_unavailable"),
    "401": (invoke_error(status(401)), "provider_error", "provider_unauthorized"),
    "400": (invoke_error(status(400)), "provider_error", "provider_error"),
    "cut": (invoke_error(plugin_error("Response ended prematurely", "ChunkedEncodingError")), "provider_error", "provider_unavailable"),
    "chatflow": (refusal("invalid_param", f"Run failed: {AS_TEXT}"), "provider_error", "rate_limited"),
    "daemon": (refusal("invalid_param", "Failed to request plugin daemon, url: plugin/CANARY/management/models"), "provider_error", "provider_unavailable"),
    "model": (refusal("invalid_param", "Model CANARY not exist."), "provider_error", "model_not_supported"),
    "provider": (refusal("invalid_param", "Provider CANARY/a/b does not exist."), "not_initialized", "not_initialized"),
    "limit": (refusal("invalid_param", "Too many requests. Please try again later. The current maximum concurrent requests allowed for CANARY is 2."), "rate_limited", ""),
    "limit 429": (refusal("too_many_requests", SECRET, 429), "rate_limited", ""),
    "slow down": (refusal("rate_limit_error", SECRET, 429), "rate_limited", "rate_limited"),
    "not supported": (refusal("model_currently_not_support", SECRET), "provider_error", "model_not_supported"),
    "before 1.0": (refusal("completion_request_error", f"[openai] Server Unavailable Error, {SECRET}"), "provider_error", "provider_unavailable"),
    "parameter": (refusal("invalid_param", f"1 validation error for ChatRequestPayload\n{AS_TEXT}"), "", ""),
    "code": (refusal("canary_of_the_upstream", SECRET), "", ""),
    "crash": (refusal("internal_server_error", SECRET, 500), "server_error", ""),
    # The same in a stream.
    "stream 429": (events(MESSAGE, error("invalid_param", status(429))), "stream_error", "rate_limited"),
    "stream 503": (events(error("invalid_param", status(503)), size=100), "stream_error", "provider_unavailable"),
    "stream other": (events(MESSAGE, error("internal_server_error")), "stream_error", ""),
    "run": (events(STARTED, node("failed", AS_TEXT), {"event": "workflow_finished", "data": run("failed", AS_TEXT)}), "run_failed", "rate_limited"),
    "run in part": (events(STARTED, node("exception", AS_TEXT), {"event": "workflow_finished", "data": run("partial-succeeded")}), "", "rate_limited"),
    "run of its own": (document({"workflow_run_id": "r", "data": run("failed", f"ValueError: {SECRET}")}), "run_failed", ""),
}  # fmt: skip


def counts(numbers: list[str]) -> dict[str, int]:
    return {word: numbers.count(word) for word in numbers if word}


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with recording() as dify, proxying(tmp_path, dify.url, "openai = true\n") as found:

        def answer(connection: socket.socket, request: bytes) -> None:
            connection.sendall(CASES[json.loads(request.partition(b"\r\n\r\n")[2])["query"]][0])

        dify.answer = answer
        yield found


def ask(proxy: Proxy, case: str) -> None:
    route = "workflows/run" if case.startswith(("wf", "run")) else "chat-messages"
    body = {"query": case, "inputs": {"text": SECRET}, "user": SECRET, "conversation_id": SECRET}
    fields = {"Authorization": "Bearer CANARY", "Cookie": "CANARY", "User-Agent": "CANARY"}
    requests.post(f"{proxy.url}/v1/{route}?CANARY=CANARY", json=body, headers=fields, timeout=20)


def test_each_failure_is_counted_once_and_by_its_cause(proxy: Proxy, tmp_path: Path) -> None:
    config = f'[[source]]\nname = "proxy"\npaths = ["{proxy.log}"]\nparser = "dify"\n'
    with serving(tmp_path, config) as exporter, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda case: ask(proxy, case), CASES))
        lines = proxy.wait_for_lines(len(CASES))
        until("every request", lambda: sum(v for _, v in exporter.samples("dify_requests_total")) == len(CASES))
        failed: dict[str, float] = {}
        for labels, value in exporter.samples("dify_failed_requests_total"):
            failed[labels["reason"]] = failed.get(labels["reason"], 0) + value
        errors = {labels["kind"]: value for labels, value in exporter.samples("dify_errors_total")}
        assert {reason: value for reason, value in failed.items() if value} == counts([r for _, r, _ in CASES.values()])
        assert {kind: value for kind, value in errors.items() if value} == counts([k for _, _, k in CASES.values()])
        tokens = {labels["token_type"]: value for labels, value in exporter.samples("dify_tokens_used_total")}
        assert tokens == {"input": 6, "output": 8, "unsplit": 17}
        assert exporter.value("dify_cost_total") == pytest.approx(0.002)
        assert not any(value for _, value in exporter.samples("dify_usage_missing_total"))
        for shown in (exporter.metrics(), exporter.get("/"), exporter.get("/health"), *exporter.process.lines):
            assert "CANARY" not in shown
    assert "canary" not in (proxy.log.read_text() + "\n".join(proxy.process.lines)).lower()
    assert {line.get("dify.error.code") for line in lines} >= {"other", "invalid_param", "provider_quota_exceeded"}


def test_the_interface_for_openais_clients(proxy: Proxy) -> None:
    cases = ["429", "limit", "before 1.0"], ["quota", "stream 429", "stream 503"]
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="CANARY", max_retries=0, timeout=10) as client:
        for stream, names in zip((False, True), cases, strict=True):
            for name in names:
                message: list[Any] = [{"role": "user", "content": name}]
                with pytest.raises(openai.APIError):
                    list(client.chat.completions.create(model="m", messages=message, stream=stream))
    found = [(line["dify.proxy.outcome"], line["dify.error.kind"]) for line in proxy.wait_for_lines(6)]
    assert found == [
        ("ok", "rate_limited"), ("ok", "concurrency_limit"), ("ok", "provider_unavailable"),
        ("stream_error", "quota_exceeded"), ("stream_error", "rate_limited"), ("stream_error", "provider_unavailable"),
    ]  # fmt: skip
    assert "CANARY" not in proxy.log.read_text()
