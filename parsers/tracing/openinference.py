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
    Origin,
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
        app_ids = metadata.app_id, span.attributes.get("dify.app_id"), span.resource.get("dify.app_id")
        app_id = next((each for each in map(uuid_of, app_ids) if each), None)
        self._node_id = first(
            span.attributes.get("dify.node.execution_id"), metadata.node_execution_id, metadata.node_id
        )
        self._node_type = first(metadata.node_type, span.attributes.get("dify.node.type"))
        self._run_id = first(metadata.workflow_run_id, span.attributes.get("dify.workflow.run_id"))
        self._is_unified = "dify.span.id" in span.attributes
        self._origin = self._with_spans(origin_of(span, dialect, app_id))

    def _with_spans(self, origin: Origin) -> Origin:
        """Add the spans along which a node finds its app."""
        if not self._is_unified:
            return origin
        is_asked = self._is_link or self._is_workflow or self._is_container
        parent = None if origin.app_id else self._span.parent
        return origin._replace(self_=self._span.reference if is_asked else None, parent=parent)

    @property
    def _is_container(self) -> bool:
        is_aggregate = self._attributes.get("aggregate_usage") is True
        return is_aggregate or node_type_of(self._node_type) in CONTAINERS or self._metadata.is_workflow_tool

    @property
    def _entity(self) -> object:
        return self._metadata.trace_entity_type

    @property
    def _is_llm(self) -> bool:
        return self._attributes.get("openinference.span.kind") == "LLM" or self._span.name == "llm"

    @property
    def _is_link(self) -> bool:
        """Whether the span is a wrapper between an iteration and its nodes."""
        is_synthetic = any(self._attributes.get(f"dify.{name}.synthetic") is True for name in ("span", "wrapper"))
        is_wrapper = is_synthetic and not self._is_llm and not self._is_message and not self._node_type
        return is_wrapper and self._is_unified and bool(self._span.span_id)

    @property
    def _is_message(self) -> bool:
        is_named = self._span.name in ("message", "llm") or self._attributes.get("dify.span.type") == "message"
        return self._entity == "message" or (self._entity is None and is_named)

    @property
    def _is_workflow(self) -> bool:
        if self._node_type or not self._run_id:
            return False
        is_named = self._span.name.startswith("workflow") or self._attributes.get("dify.span.type") == "workflow"
        return self._entity == "workflow" or (self._entity is None and is_named)

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
