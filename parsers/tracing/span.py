"""A span as the dialects need it: ids, times, the listed attributes, and what decides its outcome."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

#: The attributes that are read. The values of all others are never looked at.
ATTRIBUTES = frozenset(
    """node.execution_id node.type gen_ai.framework gen_ai.request.model gen_ai.provider.name gen_ai.tool.type
    gen_ai.usage.input_tokens gen_ai.usage.output_tokens gen_ai.usage.total_tokens input.value output.value
    dify.app_id dify.workflow.abort_reason openinference.span.kind metadata dify.span.id dify.span.type dify.span.status
    dify.span.synthetic dify.wrapper.synthetic dify.node.execution_id dify.node.type dify.node.status
    dify.workflow.run_id dify.message.id dify.conversation.mode dify.usage metrics_from_parent llm.provider
    llm.model_name llm.token_count.prompt llm.token_count.completion llm.token_count.total llm.cost.total
    dify.conversation.id aggregate_usage langfuse.observation.type test dify_trace_id""".split()
)
#: The attributes of events that are read.
EVENT_ATTRIBUTES = frozenset({"exception.type", "log.logger"})
#: The attributes of the resource that are read.
RESOURCE_ATTRIBUTES = frozenset({"dify.app_id", "openinference.project.name"})


class Event(NamedTuple):
    name: str
    attributes: Mapping[str, Any]


class Span(NamedTuple):
    """Ids are hexadecimal, "" where there is none; times are nanoseconds since the epoch, 0 where there is none.

    `resource` holds the listed attributes of the resource. `message` is the text of the status; it may quote a prompt.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    is_error: bool
    message: str
    events: tuple[Event, ...]

    @property
    def reference(self) -> str:
        """The id of the span with that of its trace."""
        return f"{self.trace_id}:{self.span_id}"

    @property
    def parent(self) -> str | None:
        """The id of the parent with that of the trace, None for a root."""
        return f"{self.trace_id}:{self.parent_id}" if self.parent_id else None

    @property
    def key(self) -> str:
        """The key of a fact that has no id of its own."""
        return f"span:{self.reference}"

    @property
    def seconds(self) -> float | None:
        """The duration in seconds, None if a time is missing. It is negative if the times are."""
        return round((self.end - self.start) / 1e9, 9) if self.start and self.end else None


class Scope(NamedTuple):
    """The spans of one instrumentation scope. They are decoded one by one, if at all.

    Decoding them raises UnreadableBody and TooManyItems.
    """

    name: str
    size: int
    spans: Iterable[Span]
