"""A small Dify under gunicorn. It answers probes and chats, and writes logs and a trace for each chat that it accepts.

The file `mode` in the working folder contains `well` or `overloaded`. An overloaded Dify refuses most chats, and the
others use far more tokens than usual. The environment variable RECEIVER is the address to which traces are sent; without
it, no trace is sent.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent

from tests.drill.logs import MODEL, PROVIDER, Chat, write, write_failed
from tests.drill.traces import llm_node, send
from tests.parsers.tracing.spans import usage_of

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

#: The API key of each app, and the app's id.
KEYS = {
    "app-support": "8b0e7153-bf7c-4370-a6d8-5c524e440066",
    "app-translator": "0f0e0d0c-0b0a-4908-8706-050403020100",
}

_PAGES = {
    "/health": ("application/json", b'{"pid": 1, "status": "ok", "version": "1.13.3"}'),
    "/console/api/ping": ("application/json", b'{"result": "pong"}'),
    "/health/check": ("application/json", b'{"status": "ok"}'),
    "/signin": ("text/html", b"<!doctype html><html lang=en><title>Dify</title></html>"),
}

#: Texts of a streamed answer.
PIECES = 4

_chance = random.Random(7)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path in _PAGES:
        kind, page = _PAGES[path]
        start_response("200 OK", [("Content-Type", kind)])
        return iter([page])
    if path != "/v1/chat-messages":
        return _refuse(start_response, "404 NOT FOUND", "not_found")
    app_id = KEYS.get(environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer "))
    if app_id is None:
        return _refuse(start_response, "401 UNAUTHORIZED", "unauthorized")
    overloaded = Path("mode").read_text().strip() == "overloaded"
    if overloaded and (luck := _chance.random()) < 0.9:
        if luck < 0.4:
            return _refuse(start_response, "429 TOO MANY REQUESTS", "too_many_requests")
        write_failed(app_id)
        return _refuse(start_response, "500 INTERNAL SERVER ERROR", "internal_server_error")
    streaming = json.loads(body or b"{}").get("response_mode") == "streaming"
    chat = _new_chat(app_id, times=1000 if overloaded else 1, pieces=PIECES if streaming else 1)
    if streaming:
        return _stream(chat, start_response)
    gevent.sleep(chat.seconds)
    _tell(chat)
    start_response("200 OK", [("Content-Type", "application/json; charset=utf-8")])
    answer = {"event": "message", "mode": "advanced-chat", "answer": "hi", "metadata": {"usage": _usage(chat)}}
    return iter([json.dumps(answer).encode()])


def _refuse(start_response: StartResponse, status: str, code: str) -> Iterator[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return iter([json.dumps({"code": code, "status": int(status[:3])}).encode()])


def _stream(chat: Chat, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
    yield _event({"event": "workflow_started", "data": {}})
    for number in range(PIECES):
        gevent.sleep(chat.seconds / PIECES)
        yield _event({"event": "message", "answer": str(number)})
    process = {"model_provider": PROVIDER, "model_name": MODEL, "usage": _usage(chat)}
    yield _event(
        {"event": "node_finished", "data": {"node_type": "llm", "status": "succeeded", "process_data": process}}
    )
    _tell(chat)
    yield _event({"event": "workflow_finished", "data": {"status": "succeeded", "elapsed_time": chat.seconds}})
    yield _event({"event": "message_end", "metadata": {"usage": _usage(chat)}})


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _usage(chat: Chat) -> dict[str, Any]:
    return usage_of(llm_node(chat))


def _new_chat(app_id: str, times: int, pieces: int) -> Chat:
    """A streamed chat takes the time of its pieces."""
    tokens = times * _chance.randint(200, 2000), times * _chance.randint(20, 400)
    return Chat(app_id, *tokens, seconds=round(pieces * _chance.uniform(0.02, 0.2), 6))


def _tell(chat: Chat) -> None:
    """What all programs write about an answered chat. The trace is sent in the background, as Dify's worker does."""
    write(chat)
    if receiver := os.environ.get("RECEIVER"):
        gevent.spawn(send, chat, receiver)
