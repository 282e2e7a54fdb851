"""A small Dify: answers as dify-logs describe, under Dify's own server (gunicorn with gevent)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

JSON = [("Content-Type", "application/json; charset=utf-8")]
FIRST_EVENT_SECONDS = 0.05
STREAM_SECONDS = 1.0
BLOCKING_SECONDS = 0.1


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if arrived := environ.get("HTTP_X_ARRIVED"):
        Path(arrived).touch()
    if path == "/v1/chat-messages":
        if json.loads(body or b"{}").get("response_mode") == "streaming":
            return _stream(start_response)
        gevent.sleep(BLOCKING_SECONDS)
        return _answer(start_response, "200 OK", {"event": "message", "answer": "hi"})
    if path == "/v1/completion-messages":
        return _answer(start_response, "400 BAD REQUEST", {"code": "completion_request_error", "status": 400})
    if path in ("/v1/audio-to-text", "/v1/text-to-audio"):
        gevent.sleep(5)
    if path.startswith(("/v1/", "/console/api/")) and not path.endswith("/missing"):
        return _answer(start_response, "200 OK", {"result": "success"})
    return _answer(start_response, "404 NOT FOUND", {"code": "not_found", "status": 404})


def _answer(start_response: StartResponse, status: str, body: dict[str, Any]) -> Iterator[bytes]:
    start_response(status, JSON)
    return iter([json.dumps(body).encode()])


def _stream(start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])

    def events() -> Iterator[bytes]:
        gevent.sleep(FIRST_EVENT_SECONDS)
        for number in range(4):
            yield b'data: {"event": "message", "answer": "%d"}\n\n' % number
            gevent.sleep((STREAM_SECONDS - FIRST_EVENT_SECONDS) / 4)
        yield b'data: {"event": "message_end"}\n\n'

    return events()
