"""Langfuse's ingestion events as Dify sends them (trace-langfuse/langfuse_trace.py), one or few per request.

A workflow is a `trace-create`, a chatflow and every node a `span-create`, a node with a chat model a
`generation-create`. A message is a `trace-create` with its mode as second tag, and a `generation-create` named `llm`.
Before Dify 1.6 such a node is a `span-create`, then a `generation-create`; only the latter has input and output tokens.
"""

from collections.abc import Callable
from datetime import UTC
from typing import Any

from msgspec import Raw, Struct

from parsers.tracing.calls import ModelCall, first_known
from parsers.tracing.content import Metadata
from parsers.tracing.facts import Node, Origin, Outcome, message_fact, message_usage_fact, node_fact, workflow_fact
from parsers.tracing.json_limits import LONGEST_REPAIRED, check_tokens
from parsers.tracing.line import is_time
from parsers.tracing.outcome import status_of
from parsers.tracing.reading import (
    MAX_ITEMS,
    Ignored,
    Item,
    Reading,
    Rejected,
    TooManyItems,
    UnreadableBody,
    reading_of,
)
from parsers.tracing.values import identifier_of, uuid_of
from parsers.values import json as lenient_json
from parsers.values.numbers import SECOND
from parsers.values.times import iso

_NOTHING = Raw(b"{}")

DIALECT = "langfuse"

#: The nodes that are generations with a chat model.
_CHAT_NODES = ("llm", "question-classifier", "parameter-extractor")
_TYPES = ("trace-create", "span-create", "generation-create")

#: The length of an event id that is answered.
_ID_LENGTH = 256


class _Usage(Struct, frozen=True, gc=False, rename="camel"):
    input: Any = None
    output: Any = None
    total: Any = None
    unit: Any = None
    total_cost: Any = None


class _Body(Struct, frozen=True, gc=False, rename="camel"):
    id: Any = None
    trace_id: Any = None
    name: Any = None
    tags: Any = None
    start_time: Any = None
    end_time: Any = None
    completion_start_time: Any = None
    model: Any = None
    level: Any = None
    status_message: Any = None
    usage: _Usage | None = None
    metadata: Metadata | None = None


class _Event(Struct, frozen=True, gc=False):
    id: Any = None
    type: Any = None
    timestamp: Any = None
    body: Raw = _NOTHING


class _Request(Struct, frozen=True, gc=False):
    batch: list[Raw]


_NO_BODY = _Body()

_read_request = lenient_json.reader(_Request, LONGEST_REPAIRED)
_read_event = lenient_json.reader(_Event, LONGEST_REPAIRED)
_read_body = lenient_json.reader(_Body, LONGEST_REPAIRED)


def read_langfuse(body: bytes) -> Reading:
    """Read the JSON body of Langfuse's `POST /api/public/ingestion`. Raises UnreadableBody and TooManyItems."""
    check_tokens(body)
    if (request := _read_request(body)) is None:
        raise UnreadableBody("the body is no JSON object with a list `batch`")
    if len(request.batch) > MAX_ITEMS:
        raise TooManyItems(f"the request has {len(request.batch)} events, at most {MAX_ITEMS} are read")
    items, event_ids = list[Item](), list[str]()
    following = None if len(request.batch) > 1 else _NO_BODY
    for event in map(_read_event, reversed(request.batch)):
        if event is not None and isinstance(event.id, str):
            event_ids.append(event.id[:_ID_LENGTH])
        read = _body_of(event) if event is not None else None
        items.append(Rejected(DIALECT) if event is None or read is None else _item(event, read, following))
        following = read or _NO_BODY
    return reading_of(reversed(items), event_ids=event_ids[::-1])


def _body_of(event: _Event) -> _Body | None:
    return _read_body(event.body) if event.type in _TYPES else _NO_BODY


def _item(event: _Event, body: _Body, following: _Body | None) -> Item:
    """`following` is the body of the next event, None behind the last one of a batch."""
    if event.type == "span-create" and body.metadata and _is_repeated(body, body.metadata, following):
        return Ignored(DIALECT)
    metadata = body.metadata or Metadata()
    at = _time(body.end_time) or _time(event.timestamp)
    read = _reader(event.type, body, metadata)
    if read is None:
        return Ignored(DIALECT)
    if at is None or not is_time(at):
        return Rejected(DIALECT)
    return read(body, metadata, Origin(DIALECT, at, uuid_of(metadata.app_id))) or Ignored(DIALECT)


def _reader(kind: str, body: _Body, metadata: Metadata) -> Callable[[_Body, Metadata, Origin], Item | None] | None:
    """Return the function that makes the fact of an event, None for an event without a fact."""
    if kind == "trace-create":
        tags = body.tags if isinstance(body.tags, list) else []
        if tags == ["workflow"]:
            return _workflow
        is_message = tags[:1] == ["message"] and tags[1:2] != ["workflow"] and not metadata.workflow_run_id
        return _message if is_message and metadata.message_id else None
    if metadata.node_type and (metadata.node_execution_id or body.id):
        return _node
    if kind == "span-create":
        return _workflow if body.name == "workflow" and metadata.workflow_run_id else None
    is_message = body.name == "llm" and metadata.message_id and not metadata.workflow_run_id
    return _message_usage if is_message else None


def _workflow(body: _Body, metadata: Metadata, origin: Origin) -> Item | None:
    run_id = identifier_of(metadata.workflow_run_id or body.id)
    if run_id is None:
        return Rejected(DIALECT)
    mode = "advanced-chat" if metadata.conversation_id else "workflow"
    seconds = _seconds(body.start_time, body.end_time) if metadata.elapsed_time is None else metadata.elapsed_time
    return workflow_fact(f"run:{run_id}", mode, Outcome(status_of(metadata.status), seconds), origin)


def _node(body: _Body, metadata: Metadata, origin: Origin) -> Item | None:
    """The `statusMessage` of every node is the error of the whole workflow, so it counts only where the node failed."""
    call = _call(body, metadata)._replace(price=metadata.total_price, currency=metadata.currency)
    node_id = identifier_of(metadata.node_execution_id or body.id)
    if node_id is None:
        return Rejected(DIALECT)
    seconds, status = _seconds(body.start_time, body.end_time), status_of(metadata.status)
    is_tool_workflow = metadata.is_workflow_tool
    node = Node(node_id, metadata.node_type, status, seconds, call, body.status_message, is_tool_workflow)
    return node_fact(node, origin)


def _message(body: _Body, metadata: Metadata, origin: Origin) -> Item | None:
    message_id = identifier_of(metadata.message_id)
    mode = body.tags[1] if len(body.tags) > 1 else None
    outcome = Outcome(status_of(metadata.status), None, body.status_message)
    return message_fact(message_id, mode, outcome, origin, None) if message_id else None


def _message_usage(body: _Body, metadata: Metadata, origin: Origin) -> Item | None:
    message_id = identifier_of(metadata.message_id)
    mode = metadata.conversation_mode
    return message_usage_fact(message_id, mode, _call(body, metadata), origin) if message_id else None


def _is_repeated(span: _Body, metadata: Metadata, following: _Body | None) -> bool:
    """Whether the next event is the generation of the same node. It may be the first one of the next request: before
    1.6, Dify named the span of a node by its type.
    """
    if following is not None:
        next_id = following.metadata.node_execution_id if following.metadata else None
        return next_id is not None and next_id == metadata.node_execution_id
    return metadata.node_type in _CHAT_NODES and metadata.node_type == span.name and metadata.status == "succeeded"


def _call(body: _Body, metadata: Metadata) -> ModelCall:
    """The currency of a message's price is not sent."""
    usage = body.usage if body.usage and body.usage.unit == "TOKENS" else _Usage()
    return ModelCall(
        metadata.model_provider or metadata.ls_provider,
        body.model or metadata.model_name or metadata.ls_model_name,
        first_known((usage.input, usage.output, usage.total), (None, None, metadata.total_tokens)),
        usage.total_cost,
        None,
        _seconds(body.start_time, body.completion_start_time),
    )


def _time(value: object) -> int | None:
    return iso(value.encode("ascii", "replace"), UTC) if isinstance(value, str) else None


def _seconds(begin: object, end: object) -> float | None:
    first, last = _time(begin), _time(end)
    return None if first is None or last is None else (last - first) / SECOND
