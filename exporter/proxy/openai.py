"""Translates OpenAI's POST /v1/chat/completions to Dify's POST /v1/chat-messages, and the response back.

Shapes: OpenAI's API reference, "Chat Completions" and "Streaming"; Dify's API reference of `/v1/chat-messages`. The
API key selects the app and the app selects the model, so the requested model name is only copied to the response. Each
call is a new conversation.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exporter.proxy.bounded_json import decode_object, nested
from exporter.proxy.headers import Fields
from exporter.proxy.translator import Translator
from exporter.proxy.upstream import UpstreamError
from exporter.wsgi.responses import RefusedError
from parsers.values.json import has_more_tokens

PATH = "/v1/chat/completions"
TARGET = "/v1/chat-messages"

#: Limit of a request's body, and of a response's body or of one of its events.
_MAX_BYTES = 16 << 20
#: Limit of the strings, commas and opening brackets of a request: 16 MiB of `{}` would become 1.2 GiB of objects.
_MAX_TOKENS = 200_000
#: A longer request must be valid JSON.
_LONGEST_REPAIRED = 1 << 20
_UNSUPPORTED = ("tools", "functions", "audio")


class CompletionTranslator(Translator):
    def __init__(self, pieces: Iterable[bytes], hold: Callable[[int], None]) -> None:
        """`pieces` is the request's body, and `hold` is called with its size in memory (`wsgi.body.SharedMemory`).

        Raises RefusedError if a Dify app does not support the request, or if there is not enough memory.
        """
        request = _completion_request(pieces, hold)
        self._model = request.get("model") if isinstance(request.get("model"), str) else "dify"
        self._is_streaming = request.get("stream") is True
        self._include_usage = nested(request, "stream_options").get("include_usage") is True
        self._created = int(time.time())
        self._rest = b""
        self._has_started = self._has_failed = False
        query, files = _query(request)
        message: dict[str, Any] = {
            "query": query,
            "inputs": {},
            "user": request.get("user") if isinstance(request.get("user"), str) and request["user"] else "openai",
            "response_mode": "streaming" if self._is_streaming else "blocking",
            "auto_generate_name": False,
            "files": files,
        }
        body = json.dumps(message).encode()
        hold(len(body))
        framing = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        super().__init__(TARGET, iter([body]), framing)  # an iterator that has ended holds nothing

    def request_fields(self, received: Fields) -> Fields:
        replaced = {"content-type", "accept-encoding", "content-length", "transfer-encoding"}  # no compressed response
        return super().request_fields([(name, value) for name, value in received if name.lower() not in replaced])

    def response_fields(self, status_code: int, received: Fields) -> Fields:
        self._has_failed = status_code >= 400
        self._is_streaming = self._is_streaming and not self._has_failed
        kept = [(n, v) for n, v in received if n.lower() not in ("content-type", "content-length", "content-encoding")]
        return [*kept, ("Content-Type", "text/event-stream" if self._is_streaming else "application/json")]

    def feed(self, piece: bytes) -> bytes:
        """Raises UpstreamError if a body or an event exceeds 16 MiB."""
        self._rest += piece
        if len(self._rest) > _MAX_BYTES:
            raise UpstreamError("upstream_reset")
        if not self._is_streaming:
            return b""
        *lines, self._rest = self._rest.split(b"\n")
        return b"".join(self._event(decode_object(line[5:])) for line in lines if line.startswith(b"data:"))

    def finish(self) -> bytes:
        document = decode_object(self._rest)
        if self._is_streaming:
            return b""
        if self._has_failed:
            return _error_of(document, "Dify gave no reason")
        message = {"role": "assistant", "content": document.get("answer", ""), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = _usage(nested(document, "metadata", "usage"))
        return json.dumps(self._head(document, "chat.completion") | {"choices": [choice], "usage": usage}).encode()

    def _event(self, event: dict[str, Any]) -> bytes:
        name = event.get("event")
        if name in ("message", "agent_message"):
            return self._chunk(event, {"content": event.get("answer", "")}, None)
        if name == "message_end":
            last = self._chunk(event, {}, "stop")
            if self._include_usage:
                usage = _usage(nested(event, "metadata", "usage"))
                last += _data(self._head(event, "chat.completion.chunk") | {"choices": [], "usage": usage})
            return last + b"data: [DONE]\n\n"
        if name == "error":
            return b"data: " + _error_of(event, "") + b"\n\n"
        return b""

    def _chunk(self, event: dict[str, Any], delta: dict[str, Any], finish_reason: str | None) -> bytes:
        if not self._has_started:
            self._has_started, delta = True, {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data(self._head(event, "chat.completion.chunk") | {"choices": [choice]})

    def _head(self, document: dict[str, Any], kind: str) -> dict[str, Any]:
        message_id = document.get("message_id") or document.get("id") or ""
        return {"id": f"chatcmpl-{message_id}", "object": kind, "created": self._created, "model": self._model}


def _completion_request(pieces: Iterable[bytes], hold: Callable[[int], None]) -> dict[str, Any]:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > _MAX_BYTES:
            raise RefusedError(413, "the request is too large", close=True)
        hold(len(body))
    text = bytes(body)
    if has_more_tokens(text, _MAX_TOKENS):
        raise RefusedError(413, f"the request has more than {_MAX_TOKENS} JSON tokens")
    request = decode_object(text, _LONGEST_REPAIRED)
    unsupported = [name for name in _UNSUPPORTED if request.get(name)]
    if request.get("n", 1) != 1:
        unsupported.append("n")
    if unsupported:
        raise _bad_request(f"{unsupported[0]} cannot be passed on to a Dify app")
    return request


def _query(request: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """The query and the files of a Dify message. Several messages become a transcript: Dify accepts no history."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise _bad_request("messages must be a list of messages")
    files: list[dict[str, str]] = []
    texts = [(str(message.get("role", "user")), _text(message.get("content"), files)) for message in messages]
    if len(texts) == 1:
        return texts[0][1], files
    return "\n\n".join(f"{role}: {text}" for role, text in texts), files


def _text(content: object, files: list[dict[str, str]]) -> str:
    """The text of one message. Its images are appended to `files`."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _bad_request("content must be a text or a list of parts")
    texts = []
    for part in content:
        url = nested(part, "image_url").get("url")
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            files.append({"type": "image", "transfer_method": "remote_url", "url": url})
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise _bad_request("only texts and images with an http address can be passed on to a Dify app")
    return "\n".join(texts)


def _usage(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: usage.get(name, 0) for name in names} if usage else None


def _bad_request(message: str) -> RefusedError:
    return RefusedError(400, message, code="invalid_request_error")


def completion_error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()


def _error_of(document: dict[str, Any], default: str) -> bytes:
    """An error of Dify. `default` is the message of one without any."""
    return completion_error(str(document.get("code", "unknown")), str(document.get("message", default)))


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
