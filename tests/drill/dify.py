"""A small Dify under gunicorn: what the probes ask, chats, and the logs of each answered chat.

The file `mode` in the working folder says how it is: `well`, or `overloaded`, which turns most chats away and lets the
others use far more tokens than usual.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent

from tests.drill.logs import Chat, write

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

APPS = ("8b0e7153-bf7c-4370-a6d8-5c524e440066", "0f0e0d0c-0b0a-4908-8706-050403020100")

_PAGES = {
    "/health": ("application/json", b'{"pid": 1, "status": "ok", "version": "1.13.3"}'),
    "/console/api/ping": ("application/json", b'{"result": "pong"}'),
    "/health/check": ("application/json", b'{"status": "ok"}'),
    "/signin": ("text/html", b"<!doctype html><html lang=en><title>Dify</title></html>"),
}

_chance = random.Random(7)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path in _PAGES:
        kind, page = _PAGES[path]
        start_response("200 OK", [("Content-Type", kind)])
        return iter([page])
    if path != "/v1/chat-messages":
        start_response("404 NOT FOUND", [("Content-Type", "application/json")])
        return iter([b'{"code": "not_found", "status": 404}'])
    overloaded = Path("mode").read_text().strip() == "overloaded"
    if overloaded and (luck := _chance.random()) < 0.9:
        status, code = (
            ("429 TOO MANY REQUESTS", "too_many_requests") if luck < 0.4 else ("500 INTERNAL SERVER ERROR", "")
        )
        start_response(status, [("Content-Type", "application/json")])
        return iter([json.dumps({"code": code or "internal_server_error", "status": int(status[:3])}).encode()])
    _tell(_chance.choice(APPS), times=1000 if overloaded else 1)
    if json.loads(body or b"{}").get("response_mode") == "streaming":
        return _stream(start_response)
    gevent.sleep(_chance.uniform(0.02, 0.2))
    start_response("200 OK", [("Content-Type", "application/json; charset=utf-8")])
    return iter([b'{"event": "message", "answer": "hi"}'])


def _stream(start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
    for number in range(4):
        gevent.sleep(_chance.uniform(0.02, 0.2))
        yield b'data: {"event": "message", "answer": "%d"}\n\n' % number
    yield b'data: {"event": "message_end"}\n\n'


def _tell(app_id: str, times: int) -> None:
    """What all programs write about an answered chat."""
    tokens = times * _chance.randint(200, 2000), times * _chance.randint(20, 400)
    write(Chat(app_id, *tokens, seconds=round(_chance.uniform(0.5, 9), 6)))
