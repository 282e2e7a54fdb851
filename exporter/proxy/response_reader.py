"""Reads an answer as it passes, without holding it up or keeping it (reference: Dify's response converters).

Events: core/app/entities/task_entities.py. A blocking answer is the last event of a stream with other names.
"""

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from exporter.proxy.bounded_json import BoundedJson, json_object
from exporter.proxy.headers import Fields
from exporter.proxy.usage import UsageTotals, inside
from parsers.access.routes import RouteInformation
from parsers.dify.error_body import cause_of_body, cause_of_text, code_of
from parsers.dify.proxy import UsageEntry

_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)
_EVENT_STREAM = re.compile(r"text/event-stream\b", re.IGNORECASE)

#: A text event is most of a stream, and needs no look once the first one has come.
_TELLS = re.compile(rb'"(?:message_end|node_finished|workflow_finished|error|usage)"')
_TEXT = ("message", "agent_message", "text_chunk")  # no set: what is looked up may be a list
#: Statuses of a node or a run that has an error's text; a node with a default value or a fail branch is an exception.
_FAILED = ("failed", "exception", "partial-succeeded")

_USAGE_FIELDS = {
    "x-usage-prompt-tokens": "prompt_tokens",
    "x-usage-input-tokens": "prompt_tokens",
    "x-usage-completion-tokens": "completion_tokens",
    "x-usage-output-tokens": "completion_tokens",
    "x-usage-total-tokens": "total_tokens",
    "x-usage-total-price": "total_price",
    "x-usage-currency": "currency",
}


class Read(Struct, frozen=True):
    """What an answer reports. `error_kind` is one of CAUSES; `first_token` is the time that `feed` was given then."""

    outcome: str
    error_code: str | None
    usage: tuple[UsageEntry, ...]
    first_token: float | None
    error_kind: str | None = None


class ResponseReader:
    """One answer. `feed` it with the body as it comes."""

    def __init__(self, status_code: int, fields: Fields) -> None:
        values = {name.lower(): value for name, value in fields}
        kind, coding = values.get("content-type", ""), values.get("content-encoding", "identity").lower()
        self._streaming = is_event_stream(kind)
        self._readable = self._streaming or bool(_JSON.match(kind))
        self._inflate = zlib.decompressobj(wbits=47) if coding in ("gzip", "x-gzip", "deflate") else None
        self._readable = self._readable and (coding == "identity" or self._inflate is not None)
        self._broken = False
        self._failed = status_code >= 400
        self._fields = {_USAGE_FIELDS[name]: value for name, value in values.items() if name in _USAGE_FIELDS}
        self._open = BoundedJson()
        self._tally = UsageTotals()
        self._outcome = "ok"
        self._error_code: str | None = None
        self._error_kind: str | None = None
        self._first_token: float | None = None

    def feed(self, piece: bytes, at: float) -> None:
        """`at` is the time, on any clock."""
        if not self._readable or self._broken:
            return
        for plain in self._plain(piece):
            if self._streaming:
                self._lines(plain, at)
            else:
                self._open.feed(plain)

    def result(self) -> Read:
        """After the last piece, or when no more will come."""
        if self._readable and not self._streaming:
            self._document(self._open.take())
        if self._tally.empty and self._fields:
            self._tally.message({name: _number(value) for name, value in self._fields.items()})
        return Read(self._outcome, self._error_code, self._tally.entries(), self._first_token, self._error_kind)

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            yield piece
            return
        try:
            while piece:
                if self._inflate.eof:  # gzip may come in members (RFC 1952 §2.2); an ended one only hoards what follows
                    self._inflate = zlib.decompressobj(wbits=47)
                yield self._inflate.decompress(piece, 65536)
                piece = self._inflate.unconsumed_tail or self._inflate.unused_data
        except zlib.error:
            self._broken = True

    def _lines(self, piece: bytes, at: float) -> None:
        first, *others = piece.split(b"\n")
        if not others:
            self._open.feed(first)
            return
        if self._open:
            self._open.feed(first)
            first = self._open.take()
        self._line(first, at)
        for line in others[:-1]:
            self._line(line, at)
        self._open.feed(others[-1])

    def _line(self, line: bytes, at: float) -> None:
        if not line.startswith(b"data:") or (self._first_token is not None and not _TELLS.search(line)):
            return
        event = json_object(line[5:])
        data, name = inside(event, "data"), event.get("event")
        if self._first_token is None and _has_text(event, data):
            self._first_token = at
        if name == "workflow_started":
            self._tally.of_workflow = True
        elif name == "node_finished":
            self._node(data)
        elif name == "message_end":
            self._tally.message(inside(event, "metadata", "usage"))
        elif name == "workflow_finished":
            self._workflow(data)
        elif name == "error":
            self._outcome = "stream_error"
            self._error(event)
        elif name is None:
            self._tally.message(inside(event, "usage"), event.get("model"))

    def _document(self, text: bytes) -> None:
        document = json_object(text)
        if self._failed:
            self._error(document)
            return
        data = inside(document, "data")
        if "workflow_run_id" in document:
            self._workflow(data)
        if "node_type" in document:
            self._node(document)
        if document.get("mode") == "advanced-chat":
            self._tally.of_workflow = True
        self._tally.message(inside(document, "metadata", "usage") or inside(document, "usage"), document.get("model"))

    def _error(self, body: Mapping[str, Any]) -> None:
        self._error_code = code_of(body.get("code"))
        self._caused_by(cause_of_body(body.get("code"), body.get("message")))

    def _node(self, data: Mapping[str, Any]) -> None:
        self._tally.node(data)
        if data.get("status") in _FAILED:
            self._caused_by(cause_of_text(data.get("error")))

    def _workflow(self, data: Mapping[str, Any]) -> None:
        self._tally.workflow(data.get("total_tokens"))
        if data.get("status") in _FAILED:
            self._caused_by(cause_of_text(data.get("error")))
        if data.get("status") == "failed" and self._outcome == "ok":
            self._outcome = "run_failed"

    def _caused_by(self, cause: str | None) -> None:
        """The first cause counts: what follows repeats it in wider words."""
        self._error_kind = self._error_kind or cause


def is_event_stream(content_type: str) -> bool:
    return bool(_EVENT_STREAM.match(content_type))


def is_read(method: str, kind: RouteInformation, status_code: int) -> bool:
    """True where a body may tell usage that no other answer tells: replays and lists repeat what was counted."""
    return status_code >= 400 or (method == "POST" and (kind.model == "yes" or kind.area == "other"))


def _has_text(event: dict[str, Any], data: Any) -> bool:
    """The first token is one that a person sees."""
    if event.get("event") in _TEXT:
        return bool(event.get("answer") or data.get("text"))
    choices = event.get("choices")
    return isinstance(choices, list) and any(bool(inside(choice, "delta").get("content")) for choice in choices)


def _number(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text
