"""The spans of the tracing providers `otel` and `phoenix` (core/ops): OpenInference's attributes and Dify's metadata.

Legacy Phoenix has the app id on every span that counts. The others (core/ops/unified_trace) leave it out on nodes,
whose app is that of the workflow span above them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from parsers.batch import UNKNOWN
from parsers.dify.labels import node_type_of
from parsers.tracing.calls import call_of_node, call_of_span, first
from parsers.tracing.content import Metadata, metadata_of
from parsers.tracing.facts import (
    CONTAINERS,
    Node,
    Outcome,
    message_fact,
    message_usage_fact,
    node_fact,
    origin_of,
    workflow_fact,
)
from parsers.tracing.line import LLM_SUFFIX, NODE, is_time
from parsers.tracing.outcome import status_of, status_of_span
from parsers.tracing.reading import Ignored, Item, Rejected
from parsers.tracing.span import Span
from parsers.tracing.values import identifier_of, seconds_of, uuid_of

_MARKS = frozenset({"openinference.span.kind", "dify.span.id", "metadata", "dify_trace_id"})


def is_of_dialect(span: Span) -> bool:
    return not _MARKS.isdisjoint(span.attributes)


def item(span: Span) -> Item:
    """Return the fact of a span of a tracing provider."""
    dialect = "phoenix" if "openinference.project.name" in span.resource else "otel"
    attributes = span.attributes
    metadata = metadata_of(attributes.get("metadata"))
    if attributes.get("metrics_from_parent") is True or "test" in attributes:
        return Ignored(dialect)
    if metadata is None:
        if "metadata" in attributes:
            return Rejected(dialect)
        metadata = Metadata()
    known = _Known(span, metadata, dialect)
    read = known.reader()
    if read is None:
        return Ignored(dialect)
    if not is_time(span.end):
        return Rejected(dialect)
    return read() or Ignored(dialect)


class _Known:
    """What a span says, whichever generation of Dify sent it."""

    def __init__(self, span: Span, metadata: Metadata, dialect: str) -> None:
        self._span, self._attributes, self._metadata = span, span.attributes, metadata
        attributes, entity = span.attributes, metadata.trace_entity_type
        app_ids = metadata.app_id, attributes.get("dify.app_id"), span.resource.get("dify.app_id")
        app_id = next((each for each in map(uuid_of, app_ids) if each), None)
        self._node_id = first(attributes.get("dify.node.execution_id"), metadata.node_execution_id, metadata.node_id)
        self._node_type = first(metadata.node_type, attributes.get("dify.node.type"))
        self._run_id = first(metadata.workflow_run_id, attributes.get("dify.workflow.run_id"))
        kind = attributes.get("dify.span.type")
        is_message = span.name in ("message", "llm") or kind == "message"
        is_workflow = span.name.startswith("workflow") or kind == "workflow"
        self._is_llm = attributes.get("openinference.span.kind") == "LLM" or span.name == "llm"
        self._is_message = entity == "message" or (entity is None and is_message)
        is_of_run = not self._node_type and bool(self._run_id)
        self._is_workflow = is_of_run and (entity == "workflow" or (entity is None and is_workflow))
        is_aggregate = attributes.get("aggregate_usage") is True
        is_outer = node_type_of(self._node_type) in CONTAINERS or metadata.is_workflow_tool
        self._is_container = is_aggregate or is_outer
        # A wrapper between an iteration and its nodes.
        is_synthetic = any(attributes.get(f"dify.{name}.synthetic") is True for name in ("span", "wrapper"))
        is_wrapper = is_synthetic and not (self._is_llm or self._is_message or self._node_type)
        is_unified = "dify.span.id" in attributes
        self._is_link = is_wrapper and is_unified and bool(span.span_id)
        self._origin = origin_of(span, dialect, app_id)
        if is_unified:  # a node finds its app along these spans
            is_asked = self._is_link or self._is_workflow or self._is_container
            parent = None if self._origin.app_id else span.parent
            self._origin = self._origin._replace(self_=span.reference if is_asked else None, parent=parent)

    def reader(self) -> Callable[[], Item | None] | None:
        """Return the function that makes the fact, None if there is none."""
        if self._is_link:
            return partial(self._origin.link, NODE)
        if self._node_id and (self._node_type or "dify.node.execution_id" in self._attributes):
            return self._node
        if self._is_workflow:
            return self._workflow
        if self._is_message and not self._run_id and self._message_id:
            return self._message_usage if self._is_llm else self._message
        return None

    @property
    def _message_id(self) -> str | None:
        span_id = self._attributes.get("dify.span.id")
        message_id = first(self._metadata.message_id, self._attributes.get("dify.message.id"), span_id)
        return identifier_of(message_id.removesuffix(LLM_SUFFIX)) if isinstance(message_id, str) else None

    @property
    def _mode(self) -> Any:
        metadata = self._metadata
        return first(
            metadata.conversation_mode, metadata.conversation_model, self._attributes.get("dify.conversation.mode"),
            "agent-chat" if metadata.agent_based is True else None,
        )  # fmt: skip

    @property
    def _status(self) -> str:
        metadata, attributes = self._metadata, self._attributes
        of_span = status_of_span(attributes.get("dify.span.status"))
        status = status_of(metadata.node_status, metadata.status, attributes.get("dify.node.status"), of_span)
        return "failed" if status == UNKNOWN and self._span.is_error else status

    @property
    def _error(self) -> str:
        text = self._metadata.status_message
        return text if isinstance(text, str) and text else self._span.message

    def _outcome(self, seconds: Any) -> Outcome:
        return Outcome(self._status, seconds, self._error)

    def _node(self) -> Item | None:
        call = call_of_node(self._attributes, self._metadata, self._node_type)
        node_id = identifier_of(self._node_id)
        node = Node(node_id, self._node_type, self._status, self._span.seconds, call, self._error, self._is_container)
        return node_fact(node, self._origin)

    def _workflow(self) -> Item | None:
        metadata, run_id = self._metadata, identifier_of(self._run_id)
        conversation = metadata.conversation_id or self._attributes.get("dify.conversation.id")
        mode = "advanced-chat" if conversation else "workflow"
        seconds = first(metadata.workflow_run_elapsed_time, metadata.elapsed_time, self._span.seconds)
        return workflow_fact(f"run:{run_id}", mode, self._outcome(seconds), self._origin) if run_id else None

    def _message(self) -> Item | None:
        """The rewrite of Dify's tracing has the tokens here, and repeats them on the span `llm` (a copy)."""
        has_tokens = isinstance(self._attributes.get("dify.usage"), dict)
        call = call_of_span(self._attributes, self._metadata) if has_tokens else None
        return message_fact(self._message_id or "", self._mode, self._outcome(self._span.seconds), self._origin, call)

    def _message_usage(self) -> Item | None:
        call = call_of_span(self._attributes, self._metadata)
        if (seconds_of(self._metadata.first_token) or 0) > 0:
            call = call._replace(first_token=self._metadata.first_token)
        return message_usage_fact(self._message_id or "", self._mode, call, self._origin)
