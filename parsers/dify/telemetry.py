"""The table of telemetry events of enterprise builds (api/enterprise/telemetry), in their generations A, B and C.

Each event has a struct with its attributes, and a method `counts` with the rule of what the event counts. The reader of
blocks and the reader of single lines (events.py) both build these structs and use the same rules.

Trace id and identity of the line belong to the Celery task, so only the attributes are used. Generations A and B write
nulls; C leaves them out, adds `dify.usage` and renames the currency.
"""

from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct, field

from parsers.batch import RUN_KINDS, UNKNOWN, NodeRun, Run
from parsers.dify.labels import node_type_of, status_of
from parsers.values.numbers import MAX_COUNT, MAX_SECONDS

_MAX_ATTEMPTS = 10**6

#: The node types that call a model once (api/core/workflow/nodes). An agent calls it several times.
CALLING_NODES = frozenset(("llm", "question-classifier", "parameter-extractor"))
#: The modes of apps whose message is the answer of one call.
CALLING_MODES = frozenset(("chat", "completion"))

Text = str | None
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)] | None
TokenCount = Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None
Price = str | float | None


class CountRule(Struct, frozen=True):
    """What an event counts.

    * `run`: a record of a run, whose app is that of the event.
    * `first_token`: whether its time to the first token counts.
    * `has_usage`: whether its tokens and price count.
    * `needs_model`: its usage only counts if it names a model.
    * `needs_usage`: missing usage is reported.
    * `is_call`: its usage is that of one model call.
    """

    run: NodeRun | Run | None = None
    first_token: bool = False
    has_usage: bool = False
    needs_model: bool = False
    needs_usage: bool = False
    is_call: bool = False


class EventFacts(NamedTuple):
    """The facts that the rule of an event depends on. Events with equal facts count the same."""

    subject: str | None
    status: str | None
    is_inside: bool


class UsagePrice(Struct, frozen=True, gc=False):
    """The members of generation C's `dify.usage` that count."""

    price: Price = field(default=None, name="total_price")
    currency: Text = None


NO_PRICE = UsagePrice()


class Tokens(Struct, frozen=True, gc=False, omit_defaults=True):
    """The model and the tokens of a call, as our proxy and our receiver name them too.

    None means not known. The reader of blocks decodes by these types, and leaves a line with any other type to the
    reader of single lines. That reader replaces a value of another type by None, or keeps it if the type of the field
    is None. A field of type None is therefore never set in a block.
    """

    provider: Text = field(default=None, name="gen_ai.provider.name")
    model: Text = field(default=None, name="gen_ai.request.model")
    input_tokens: TokenCount = field(default=None, name="gen_ai.usage.input_tokens")
    output_tokens: TokenCount = field(default=None, name="gen_ai.usage.output_tokens")
    total_tokens: TokenCount = field(default=None, name="gen_ai.usage.total_tokens")


class ModelCall(Tokens, frozen=True, gc=False, kw_only=True):
    """A model call.

    Generations A and B have its price in an attribute of the event, C in `dify.usage`, an object or dotted names.
    """

    cost_currency: Text = field(default=None, name="dify.cost.currency")
    usage: UsagePrice = field(default=NO_PRICE, name="dify.usage")
    usage_price: None = field(default=None, name="dify.usage.total_price")
    usage_currency: None = field(default=None, name="dify.usage.currency")

    @property
    def price(self) -> Price:
        """The price in an attribute of the event itself, like `currency`."""
        return None

    @property
    def currency(self) -> Text:
        return None


class TelemetryEvent(ModelCall, frozen=True, gc=False, tag_field="dify.event.name"):
    """The common attributes of all events. Values with the same meaning have the same name in all events."""

    app_id: Text = field(default=None, name="dify.app_id")
    span: Any = field(default=None, name="dify.span.name")
    attempt: None = field(default=None, name="dify.node.attempt")
    metrics_from_parent: None = field(default=None, name="metrics_from_parent")

    @property
    def subject(self) -> Text:
        """The subject of the event, one of few values."""
        return None

    @property
    def status(self) -> Text:
        """The outcome of the event, one of few values."""
        return None

    @property
    def inside(self) -> Text:
        """Set if the event belongs to a larger run or to a chat."""
        return None

    @property
    def inside_message(self) -> Text:
        """Set if the event belongs to a message of a chat."""
        return None

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:  # noqa: ARG004 - a rule may need none of them
        """Return what each event with these facts counts. By default it counts nothing."""
        return CountRule()

    @property
    def is_copy(self) -> bool:
        """Whether the event is a copy whose usage its parent reports too, so that it must not count.

        Generation C logs such copies of spans (api/core/ops/workflow_trace.py): each attempt of a retried node, and the
        steps of an agent. If the log has no content, only the name of an attempt shows that it is a copy.

        This is only True if a field of type None is set, so it is never True in a block.
        """
        attempt: Any = self.attempt
        has_number = isinstance(attempt, int) and 0 <= attempt < _MAX_ATTEMPTS and isinstance(self.span, str)
        return self.metrics_from_parent is True or (has_number and self.span.endswith(f" attempt {attempt + 1}"))


class NodeExecution(TelemetryEvent, frozen=True, gc=False, tag="dify.node.execution"):
    subject: Text = field(default=None, name="dify.node.type")
    status: Text = field(default=None, name="dify.node.status")
    duration: Seconds = field(default=None, name="dify.node.elapsed_time")
    price: Price = field(default=None, name="dify.node.total_price")
    currency: Text = field(default=None, name="dify.node.currency")
    links: tuple[()] | None = field(default=None, name="dify.trace.links")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        """The nodes inside an iteration or loop report its usage. A tool without a model is a workflow."""
        run = NodeRun(node_type_of(facts.subject), status_of(facts.status))
        return CountRule(
            run,
            has_usage=run.node_type not in ("iteration", "loop"),
            needs_model=run.node_type == "tool",
            needs_usage=run.node_type == "llm" and run.status == "succeeded",
            is_call=run.node_type in CALLING_NODES,
        )

    @property
    def is_copy(self) -> bool:
        """The trace of a workflow that ran as a tool is also part of its caller's trace (generation C)."""
        return bool(self.links) or super().is_copy


class DraftNodeExecution(NodeExecution, frozen=True, gc=False, tag="dify.node.execution.draft"):
    pass


class MessageRun(TelemetryEvent, frozen=True, gc=False, tag="dify.message.run"):
    subject: Text = field(default=None, name="dify.conversation.mode")
    status: Text = field(default=None, name="dify.message.status")
    inside: Text = field(default=None, name="dify.workflow.run_id")
    duration: Seconds = field(default=None, name="dify.message.duration")
    first_token: Seconds = field(default=None, name="dify.message.time_to_first_token")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        """The message of a chatflow counts neither a second run nor its tokens a second time."""
        if facts.is_inside:
            return CountRule(first_token=True)
        kind = facts.subject if facts.subject in RUN_KINDS else UNKNOWN
        run = Run(kind, UNKNOWN, status_of(facts.status))
        return CountRule(run, first_token=True, has_usage=True, is_call=kind in CALLING_MODES)


class WorkflowRun(TelemetryEvent, frozen=True, gc=False, tag="dify.workflow.run"):
    status: Text = field(default=None, name="dify.workflow.status")
    inside: Text = field(default=None, name="dify.conversation.id")
    inside_message: Text = field(default=None, name="dify.message.id")
    duration: Seconds = field(default=None, name="dify.workflow.elapsed_time")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        """The tokens of a workflow are those of its nodes, which count them. The workflow itself counts none."""
        return CountRule(Run("advanced-chat" if facts.is_inside else "workflow", UNKNOWN, status_of(facts.status)))


class PromptGeneration(TelemetryEvent, frozen=True, gc=False, tag="dify.prompt_generation.execution"):
    subject: Text = field(default=None, name="dify.prompt_generation.operation_type")
    price: Price = field(default=None, name="dify.prompt_generation.total_price")
    currency: Text = field(default=None, name="dify.prompt_generation.currency")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        """Generation C also uses this event for the model call of a message and for the steps of an agent.

        The usage of those is part of the message.
        """
        return CountRule(has_usage=facts.subject not in ("llm", "agent"))


class SuggestedQuestion(TelemetryEvent, frozen=True, gc=False, tag="dify.suggested_question.generation"):
    @staticmethod
    def counts(facts: EventFacts) -> CountRule:  # noqa: ARG004
        return CountRule(has_usage=True)


class ToolExecution(TelemetryEvent, frozen=True, gc=False, tag="dify.tool.execution"):
    """A tool call. It counts nothing, like all events outside the table; this one and the next two are frequent."""


class DatasetRetrieval(TelemetryEvent, frozen=True, gc=False, tag="dify.dataset.retrieval"):
    pass


class ModerationCheck(TelemetryEvent, frozen=True, gc=False, tag="dify.moderation.check"):
    pass


TABLE: tuple[type[TelemetryEvent], ...] = (
    NodeExecution,
    DraftNodeExecution,
    MessageRun,
    WorkflowRun,
    PromptGeneration,
    SuggestedQuestion,
    ToolExecution,
    DatasetRetrieval,
    ModerationCheck,
)
