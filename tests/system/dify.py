"""A small Dify in its own stack (Flask under gunicorn with gevent): answers as its converters write them.

`query` names a case. Run with `gunicorn tests.system.dify:app`.
"""

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import gevent
from flask import Flask, Response, request

app = Flask(__name__)

USAGE = {
    "prompt_tokens": 31, "prompt_unit_price": "2", "prompt_price_unit": "0.000001", "prompt_price": "0.0000620",
    "completion_tokens": 12, "completion_unit_price": "8", "completion_price_unit": "0.000001",
    "completion_price": "0.0000960", "total_tokens": 43, "total_price": "0.0001580", "currency": "USD", "latency": 1.1,
}  # fmt: skip
NOTHING = dict.fromkeys(USAGE, 0) | {"total_price": "0E-7", "currency": "USD"}
KEYS = {"Bearer app-one", "Bearer app-two"}
FIRST_TOKEN_SECONDS = 0.1
GAP_SECONDS = 0.03


def failure(status: int, code: str) -> tuple[dict[str, Any], int]:
    return {"code": code, "message": "CANARY: it did not work", "status": status}, status


@app.after_request
def version(response: Response) -> Response:
    response.headers["X-Version"] = "1.12.1"
    response.headers["X-Env"] = "PRODUCTION"
    return response


@app.get("/v1/parameters")
def parameters() -> Any:
    return {"opening_statement": "CANARY", "suggested_questions": []}


@app.post("/v1/files/upload")
def upload() -> Any:
    return {"id": str(uuid.uuid4()), "size": request.files["file"].seek(0, 2)}, 201


@app.post("/v1/chat-messages")
@app.post("/v1/completion-messages")
def chat() -> Any:
    body = request.get_json()
    if request.headers.get("Authorization") not in KEYS:
        return failure(401, "unauthorized")
    case = body.get("query") or body["inputs"].get("query", "")
    if body.get("response_mode") == "streaming":
        return events(_chat(case))
    if case == "provider":
        return failure(400, "completion_request_error")
    if case == "quota":
        return failure(400, "provider_quota_exceeded")
    usage = NOTHING if case == "zero" else USAGE
    answer = f"CANARY answer to {case}" if not case.startswith("echo ") else case[5:]
    return {
        "event": "message", "task_id": str(uuid.uuid4()), "id": "m", "message_id": "m", "conversation_id": "c", "mode": "chat",
        "answer": answer, "metadata": {} if case == "absent" else {"usage": usage, "retriever_resources": []},
        "created_at": 1705395332,
    }  # fmt: skip


@app.post("/v1/workflows/run")
def workflow() -> Any:
    case = request.get_json()["inputs"]["query"]
    if request.get_json().get("response_mode") == "streaming":
        return events(_workflow(case))
    data = {"id": "r", "workflow_id": "w", "status": "failed" if case == "failed" else "succeeded", "outputs": {"text": "CANARY"},
            "error": None, "elapsed_time": 1.23, "total_tokens": 150, "total_steps": 3}  # fmt: skip
    return {"task_id": "t", "workflow_run_id": "r", "data": data}


@app.get("/v1/workflow/<task_id>/events")
def replay(task_id: str) -> Any:
    return events(_workflow("again"))


def events(source: Iterator[dict[str, Any] | None]) -> Response:
    def text() -> Iterator[str]:
        for event in source:
            yield "event: ping\n\n" if event is None else f"data: {json.dumps(event, ensure_ascii=False)}\n\n"

    return Response(text(), mimetype="text/event-stream")


def _chat(case: str) -> Iterator[dict[str, Any] | None]:
    yield None
    gevent.sleep(FIRST_TOKEN_SECONDS)
    answer = case[5:].split(" ") if case.startswith("echo ") else ["CANARY", "naïve", "answer"]
    for word in answer:
        yield {"event": "message", "task_id": "t", "message_id": "m", "conversation_id": "c", "answer": f"{word} "}
        gevent.sleep(GAP_SECONDS)
    if case == "provider":
        yield {"event": "error", "task_id": "t", "status": 400, "code": "completion_request_error", "message": "CANARY"}
        return
    if case == "chatflow":
        yield _node("gpt-4.1", USAGE)
    if case.startswith("for ever"):
        while True:
            yield {"event": "message", "answer": "on "}
            gevent.sleep(random.uniform(0, 2 * float(case[8:] or GAP_SECONDS)))
    yield {"event": "message_end", "task_id": "t", "message_id": "m", "metadata": {"usage": USAGE}}


def _workflow(case: str) -> Iterator[dict[str, Any] | None]:
    yield {"event": "workflow_started", "data": {"id": "r"}}
    gevent.sleep(FIRST_TOKEN_SECONDS)
    yield {"event": "text_chunk", "data": {"text": "CANARY"}}
    yield _node("gpt-4.1", USAGE)
    yield _node("claude-sonnet-4-5", USAGE)
    status = "failed" if case == "failed" else "succeeded"
    yield {
        "event": "workflow_finished",
        "data": {"status": status, "total_tokens": 100, "elapsed_time": 1.5, "total_steps": 3},
    }


def _node(model: str, usage: dict[str, Any]) -> dict[str, Any]:
    process = {"model_mode": "chat", "prompts": [{"role": "user", "text": "CANARY " * 9000}], "usage": usage,
               "finish_reason": "stop", "model_provider": "langgenius/openai/openai", "model_name": model}  # fmt: skip
    executed = {"total_tokens": 43, "total_price": "0.0001580", "currency": "USD"}
    data = {"id": "e", "node_id": "n", "node_type": "llm", "status": "succeeded", "elapsed_time": 1.1,
            "process_data": process, "outputs": {"text": "CANARY", "usage": usage}, "execution_metadata": executed}  # fmt: skip
    return {"event": "node_finished", "task_id": "t", "workflow_run_id": "r", "data": data}
