"""The door for OpenAI's clients: POST /v1/chat/completions as a message to a Dify app, and its answer back.

Shapes: OpenAI's API reference, "Chat Completions" and "Streaming"; Dify's `/v1/chat-messages`. The model's name is
only repeated: the API key decides the app, and the app its model. Each call is a conversation of its own.
"""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from exporter.proxy.bounded_json import json_object
from exporter.proxy.errors import RefusedError, UpstreamError
from exporter.proxy.headers import Fields
from exporter.proxy.usage import inside

PATH = "/v1/chat/completions"

_MOST_BYTES = 16 << 20
_NOT_OFFERED = ("tools", "functions", "audio")


class CompletionRefusedError(RefusedError):
    """In the shape of OpenAI's errors."""

    @classmethod
    def of(cls, refused: RefusedError) -> "CompletionRefusedError":
        return cls(refused.status, refused.code, str(refused), refused.close)

    def body(self) -> bytes:
        return _error(self.code, str(self))


class Completion:
    """A passage (passage.py) that translates."""

    target = "/v1/chat-messages"

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Takes the request's body. Raises RefusedError where Dify cannot do what is asked."""
        asked = _asked(pieces)
        self._model = asked.get("model") if isinstance(asked.get("model"), str) else "dify"
        self._stream = asked.get("stream") is True
        self._include_usage = inside(asked, "stream_options").get("include_usage") is True
        self._created = int(time.time())
        self._rest = b""
        self._begun = False
        self._failed = False
        query, files = _query(asked)
        message: dict[str, Any] = {
            "query": query,
            "inputs": {},
            "user": asked.get("user") if isinstance(asked.get("user"), str) and asked["user"] else "openai",
            "response_mode": "streaming" if self._stream else "blocking",
            "auto_generate_name": False,
            "files": files,
        }
        self.body = [json.dumps(message).encode()]

    def fields(self, received: Fields) -> Fields:
        """Those of the request to Dify: its answer is to be read, so it may not be compressed."""
        ours = {"content-type", "accept-encoding", "content-length", "transfer-encoding"}
        kept = [(name, value) for name, value in received if name.lower() not in ours]
        return [*kept, ("Content-Type", "application/json"), ("Content-Length", str(len(self.body[0])))]

    def answered(self, status_code: int, received: Fields) -> Fields:
        """The fields of the answer to the client."""
        self._failed = status_code >= 400
        self._stream = self._stream and not self._failed
        kept = [(n, v) for n, v in received if n.lower() not in ("content-type", "content-length", "content-encoding")]
        return [*kept, ("Content-Type", "text/event-stream" if self._stream else "application/json")]

    def feed(self, piece: bytes) -> bytes:
        """What a piece of Dify's answer is for the client. Raises UpstreamError where it is longer than any model's."""
        self._rest += piece
        if len(self._rest) > _MOST_BYTES:
            raise UpstreamError("upstream_reset")
        return self._events() if self._stream else b""

    def finish(self) -> bytes:
        """What remains, after Dify's answer has ended."""
        document = json_object(self._rest)
        if self._stream:
            return b""
        if self._failed:
            return _error(str(document.get("code", "unknown")), str(document.get("message", "Dify gave no reason")))
        message = {"role": "assistant", "content": document.get("answer", ""), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = _usage(inside(document, "metadata", "usage"))
        return json.dumps(self._head(document, "chat.completion") | {"choices": [choice], "usage": usage}).encode()

    def _events(self) -> bytes:
        *lines, self._rest = self._rest.split(b"\n")
        return b"".join(self._event(json_object(line[5:])) for line in lines if line.startswith(b"data:"))

    def _event(self, event: dict[str, Any]) -> bytes:
        name = event.get("event")
        if name in ("message", "agent_message"):
            return self._chunk(event, {"content": event.get("answer", "")}, None)
        if name == "message_end":
            last = self._chunk(event, {}, "stop")
            if self._include_usage:
                usage = _usage(inside(event, "metadata", "usage"))
                last += _data(self._head(event, "chat.completion.chunk") | {"choices": [], "usage": usage})
            return last + b"data: [DONE]\n\n"
        if name == "error":
            return b"data: " + _error(str(event.get("code", "unknown")), str(event.get("message", ""))) + b"\n\n"
        return b""

    def _chunk(self, event: dict[str, Any], delta: dict[str, Any], finish_reason: str | None) -> bytes:
        if not self._begun:
            self._begun, delta = True, {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data(self._head(event, "chat.completion.chunk") | {"choices": [choice]})

    def _head(self, document: dict[str, Any], kind: str) -> dict[str, Any]:
        name = document.get("message_id") or document.get("id") or ""
        return {"id": f"chatcmpl-{name}", "object": kind, "created": self._created, "model": self._model}


def _asked(pieces: Iterable[bytes]) -> dict[str, Any]:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > _MOST_BYTES:
            raise CompletionRefusedError("413 Content Too Large", "too_large", "the request is too large", close=True)
    asked = json_object(bytes(body))
    if offending := [name for name in _NOT_OFFERED if asked.get(name)] or (["n"] if asked.get("n", 1) != 1 else []):
        raise _bad(f"{offending[0]} cannot be passed on to a Dify app")
    return asked


def _query(asked: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """One message is the query itself; several become a transcript, because Dify takes no history."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise _bad("messages must be a list of messages")
    files: list[dict[str, str]] = []
    texts = [(str(message.get("role", "user")), _text(message.get("content"), files)) for message in messages]
    if len(texts) == 1:
        return texts[0][1], files
    return "\n\n".join(f"{role}: {text}" for role, text in texts), files


def _text(content: object, files: list[dict[str, str]]) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _bad("content must be a text or a list of parts")
    texts = []
    for part in content:
        url = inside(part, "image_url").get("url")
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            files.append({"type": "image", "transfer_method": "remote_url", "url": url})
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise _bad("only texts and images with an http address can be passed on to a Dify app")
    return "\n".join(texts)


def _usage(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: usage.get(name, 0) for name in names} if usage else None


def _bad(message: str) -> CompletionRefusedError:
    return CompletionRefusedError("400 Bad Request", "invalid_request_error", message)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"
