"""Reads usage, errors and the first token from Dify's response while it is relayed, without delaying or storing it.

Source of the shapes: Dify's response converters (core/app/apps) and core/app/entities/task_entities.py. A blocking
response has the values of a stream's last event under other names.
"""

import re
import zlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from exporter.proxy.bounded_json import BoundedJson, decode_object, nested
from exporter.proxy.headers import Fields
from exporter.proxy.usage import UsageTotals
from exporter.wsgi.inflater import ENCODINGS, Inflater
from parsers.access.routes import RouteInformation
from parsers.dify.error_body import cause_of_body, cause_of_text, code_of
from parsers.dify.proxy import UsageEntry

_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)
_EVENT_STREAM = re.compile(r"text/event-stream\b", re.IGNORECASE)

#: Events that must be decoded after the first token. Most events of a stream are texts; these are skipped.
_HAS_USAGE_OR_ERROR = re.compile(rb'"(?:message_end|node_finished|workflow_finished|error|usage)"')
_TEXT_EVENTS = ("message", "agent_message", "text_chunk")  # not a set: the value that is looked up may be unhashable
#: Statuses of a node or a run with an error text. A failed node with a default value or a fail branch: "exception".
_FAILED_STATUSES = ("failed", "exception", "partial-succeeded")

_USAGE_OF_FIELD = {
    "x-usage-prompt-tokens": "prompt_tokens",
    "x-usage-input-tokens": "prompt_tokens",
    "x-usage-completion-tokens": "completion_tokens",
    "x-usage-output-tokens": "completion_tokens",
    "x-usage-total-tokens": "total_tokens",
    "x-usage-total-price": "total_price",
    "x-usage-currency": "currency",
}


class ResponseSummary(Struct):
    """The result of reading one response. `error_kind` is one of CAUSES (parsers/dify/error_body.py).

    `first_token_at` is the time that was passed to `feed` with the first token.
    """

    outcome: str = "ok"
    error_code: str | None = None
    usage: tuple[UsageEntry, ...] = ()
    first_token_at: float | None = None
    error_kind: str | None = None


class ResponseReader:
    """Reads one response. Call `feed` with each piece of the body, then `result`."""

    def __init__(self, status_code: int, fields: Fields) -> None:
        values = {name.lower(): value for name, value in fields}
        content_type, coding = values.get("content-type", ""), values.get("content-encoding", "identity").lower()
        self._is_streaming = is_event_stream(content_type)
        self._is_readable = self._is_streaming or bool(_JSON.match(content_type))
        self._inflater = Inflater() if coding in ENCODINGS else None
        self._is_readable = self._is_readable and (coding == "identity" or self._inflater is not None)
        self._is_corrupt = False
        self._has_failed = status_code >= 400
        self._fields = {_USAGE_OF_FIELD[name]: value for name, value in values.items() if name in _USAGE_OF_FIELD}
        self._pending = BoundedJson()
        self._totals = UsageTotals()
        self._summary = ResponseSummary()

    def feed(self, piece: bytes, at: float) -> None:
        """Read a piece of the body. `at` is the time in seconds, on any clock."""
        if not self._is_readable or self._is_corrupt:
            return
        try:
            for inflated in self._inflater.feed(piece) if self._inflater else (piece,):
                if self._is_streaming:
                    self._feed_lines(inflated, at)
                else:
                    self._pending.feed(inflated)
        except zlib.error:
            self._is_corrupt = True

    def result(self) -> ResponseSummary:
        """The summary, after the last piece or when the response is aborted."""
        if self._is_readable and not self._is_streaming:
            self._read_document(self._pending.take())
        if self._totals.is_empty and self._fields:
            counts = {n: int(v) for n, v in self._fields.items() if v.isascii() and v.isdigit() and len(v) < 16}
            self._totals.set_message(self._fields | counts)
        self._summary.usage = self._totals.entries()
        return self._summary

    def _feed_lines(self, piece: bytes, at: float) -> None:
        first, *others = piece.split(b"\n")
        if not others:
            self._pending.feed(first)
            return
        if self._pending:
            self._pending.feed(first)
            first = self._pending.take()
        self._read_event(first, at)
        for line in others[:-1]:
            self._read_event(line, at)
        self._pending.feed(others[-1])

    def _read_event(self, line: bytes, at: float) -> None:
        has_begun = self._summary.first_token_at is not None
        if not line.startswith(b"data:") or (has_begun and not _HAS_USAGE_OR_ERROR.search(line)):
            return
        event = decode_object(line[5:])
        data, name = nested(event, "data"), event.get("event")
        if not has_begun and _has_text(event, data):
            self._summary.first_token_at = at
        if name == "workflow_started":
            self._totals.is_workflow = True
        elif name == "node_finished":
            self._read_node(data)
        elif name == "message_end":
            self._totals.set_message(nested(event, "metadata", "usage"))
        elif name == "workflow_finished":
            self._read_workflow(data)
        elif name == "error":
            self._summary.outcome = "stream_error"
            self._read_error(event)
        elif name is None:
            self._totals.set_message(nested(event, "usage"), event.get("model"))

    def _read_document(self, text: bytes) -> None:
        document = decode_object(text)
        if self._has_failed:
            self._read_error(document)
            return
        data = nested(document, "data")
        if "workflow_run_id" in document:
            self._read_workflow(data)
        if "node_type" in document:
            self._read_node(document)
        if document.get("mode") == "advanced-chat":
            self._totals.is_workflow = True
        self._totals.set_message(
            nested(document, "metadata", "usage") or nested(document, "usage"), document.get("model")
        )

    def _read_error(self, body: Mapping[str, Any]) -> None:
        self._summary.error_code = code_of(body.get("code"))
        self._set_error_kind(cause_of_body(body.get("code"), body.get("message")))

    def _read_node(self, data: Mapping[str, Any]) -> None:
        self._totals.add_node(data)
        if data.get("status") in _FAILED_STATUSES:
            self._set_error_kind(cause_of_text(data.get("error")))

    def _read_workflow(self, data: Mapping[str, Any]) -> None:
        self._totals.set_workflow(data.get("total_tokens"))
        if data.get("status") in _FAILED_STATUSES:
            self._set_error_kind(cause_of_text(data.get("error")))
        if data.get("status") == "failed" and self._summary.outcome == "ok":
            self._summary.outcome = "run_failed"

    def _set_error_kind(self, cause: str | None) -> None:
        """Keep the first cause. Later errors of the same request repeat it less precisely."""
        self._summary.error_kind = self._summary.error_kind or cause


def is_event_stream(content_type: str) -> bool:
    return bool(_EVENT_STREAM.match(content_type))


def is_worth_reading(method: str, information: RouteInformation, status_code: int) -> bool:
    """Whether a body may report an error or usage. Replays and lists repeat usage that was already counted."""
    return status_code >= 400 or (method == "POST" and (information.model == "yes" or information.area == "other"))


def _has_text(event: dict[str, Any], data: Any) -> bool:
    """Whether the event has text that a person sees. Its first one is the first token."""
    if event.get("event") in _TEXT_EVENTS:
        return bool(event.get("answer") or data.get("text"))
    choices = event.get("choices")
    return isinstance(choices, list) and any(bool(nested(choice, "delta").get("content")) for choice in choices)
