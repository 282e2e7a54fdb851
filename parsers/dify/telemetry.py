"""The table of telemetry events of enterprise builds (api/enterprise/telemetry), generations A, B and C.

One struct per event names its attributes, and its method `counts` is the rule of what the event counts. The reader of
blocks and the reader of single lines (events.py) both build these structs and ask the same rules.

The envelope's trace and identity are the Celery task's, so only the attributes count. A and B write nulls, C leaves
them out, adds `dify.usage` and renames the currency.
"""

import re
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct, field

from parsers.batch import OTHER, RUN_KINDS, UNKNOWN, NodeRun, Run

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME_LENGTH = 128
_MOST_ATTEMPTS = 10**6

#: api/core/workflow/enums.py, NodeType; and the statuses of its nodes and runs, and of messages.
_NODE_TYPES = frozenset(
    """start end answer llm knowledge-retrieval knowledge-index if-else code template-transform question-classifier
    http-request tool datasource variable-aggregator legacy-variable-aggregator loop loop-start loop-end iteration
    iteration-start parameter-extractor assigner variable-assigner document-extractor list-operator agent agent-v2
    human-input trigger-webhook trigger-schedule trigger-plugin""".split()
)
_STATUSES = frozenset(
    """scheduled pending running succeeded failed stopped partial-succeeded paused skipped exception retry normal
    error""".split()
)

Text = str | None
Seconds = Annotated[float, Meta(ge=0, le=10_000_000)] | None
Count = Annotated[int, Meta(ge=0, le=10**12)] | None
Price = str | float | None


class Counts(Struct, frozen=True):
    """What an event counts: a run, which takes its app from the event, the time to its first token, its usage.

    With `needs_model` its usage counts only under a model's name. With `owes` the usage must be there.
    """

    run: NodeRun | Run | None = None
    first_token: bool = False
    spends: bool = False
    needs_model: bool = False
    owes: bool = False


class Facts(NamedTuple):
    """What the rule of an event depends on; events with equal facts count the same."""

    subject: str | None
    status: str | None
    inside: bool


class Event(Struct, frozen=True, gc=False, tag_field="dify.event.name"):
    """Values of one meaning have one name in all events; None is not known.

    The reader of blocks decodes by these types and leaves a line of any other type to the reader of single lines, which
    replaces such a value by None, or keeps it where the type is None. So a field of type None is one that blocks never
    hold.
    """

    app_id: Text = field(default=None, name="dify.app_id")
    span: Any = field(default=None, name="dify.span.name")
    attempt: None = field(default=None, name="dify.node.attempt")
    metrics_from_parent: None = field(default=None, name="metrics_from_parent")

    @property
    def subject(self) -> Text:
        """What the event is about, one of few values."""
        return None

    @property
    def status(self) -> Text:
        """How it ended, one of few values."""
        return None

    @property
    def inside(self) -> Text:
        """Set where a wider run or a chat holds this event."""
        return None

    @property
    def inside_message(self) -> Text:
        """As `inside`."""
        return None

    @staticmethod
    def counts(facts: Facts) -> Counts:  # noqa: ARG004 - a rule may need none of them
        """What each event with these facts counts: nothing, unless a kind of event has a rule."""
        return Counts()

    @property
    def is_copy(self) -> bool:
        """Generation C logs copies of spans, whose usage their parent has too (api/core/ops/workflow_trace.py): each
        attempt of a node that was retried, and the steps of an agent. Without content only an attempt's name shows it.

        True only where a field of type None is set, hence never in a block.
        """
        attempt: Any = self.attempt
        numbered = isinstance(attempt, int) and 0 <= attempt < _MOST_ATTEMPTS and isinstance(self.span, str)
        return self.metrics_from_parent is True or (numbered and self.span.endswith(f" attempt {attempt + 1}"))


class Priced(Struct, frozen=True, gc=False):
    """Generation C's `dify.usage`, as far as it counts."""

    price: Price = field(default=None, name="total_price")
    currency: Text = None


UNPRICED = Priced()


class Spending(Event, frozen=True, gc=False):
    """A model call. Generations A and B have its price under the event's own name, C has it in `dify.usage`, as an
    object or under dotted names.
    """

    given: Count = field(default=None, name="gen_ai.usage.input_tokens")
    produced: Count = field(default=None, name="gen_ai.usage.output_tokens")
    total: Count = field(default=None, name="gen_ai.usage.total_tokens")
    provider: Text = field(default=None, name="gen_ai.provider.name")
    model: Text = field(default=None, name="gen_ai.request.model")
    cost_currency: Text = field(default=None, name="dify.cost.currency")
    usage: Priced = field(default=UNPRICED, name="dify.usage")
    usage_price: None = field(default=None, name="dify.usage.total_price")
    usage_currency: None = field(default=None, name="dify.usage.currency")

    @property
    def price(self) -> Price:
        """Under the event's own name, as is `currency`."""
        return None

    @property
    def currency(self) -> Text:
        return None


class Node(Spending, frozen=True, gc=False, tag="dify.node.execution"):
    subject: Text = field(default=None, name="dify.node.type")
    status: Text = field(default=None, name="dify.node.status")
    duration: Seconds = field(default=None, name="dify.node.elapsed_time")
    price: Price = field(default=None, name="dify.node.total_price")
    currency: Text = field(default=None, name="dify.node.currency")
    links: tuple[()] | None = field(default=None, name="dify.trace.links")

    @staticmethod
    def counts(facts: Facts) -> Counts:
        """The usage of a container is that of the nodes inside it, and a tool without a model is a workflow."""
        run = NodeRun(node_type_of(facts.subject), status_of(facts.status))
        return Counts(
            run,
            spends=run.node_type not in ("iteration", "loop"),
            needs_model=run.node_type == "tool",
            owes=run.node_type == "llm" and run.status == "succeeded",
        )

    @property
    def is_copy(self) -> bool:
        """The trace of a workflow that ran as a tool is also in its caller's (generation C)."""
        return bool(self.links) or super().is_copy


class Draft(Node, frozen=True, gc=False, tag="dify.node.execution.draft"):
    pass


class Message(Spending, frozen=True, gc=False, tag="dify.message.run"):
    subject: Text = field(default=None, name="dify.conversation.mode")
    status: Text = field(default=None, name="dify.message.status")
    inside: Text = field(default=None, name="dify.workflow.run_id")
    duration: Seconds = field(default=None, name="dify.message.duration")
    first_token: Seconds = field(default=None, name="dify.message.time_to_first_token")

    @staticmethod
    def counts(facts: Facts) -> Counts:
        """The message of a workflow's run is neither a second run nor a second use of tokens."""
        if facts.inside:
            return Counts(first_token=True)
        kind = facts.subject if facts.subject in RUN_KINDS else UNKNOWN
        return Counts(Run(kind, UNKNOWN, status_of(facts.status)), first_token=True, spends=True)


class Workflow(Event, frozen=True, gc=False, tag="dify.workflow.run"):
    status: Text = field(default=None, name="dify.workflow.status")
    inside: Text = field(default=None, name="dify.conversation.id")
    inside_message: Text = field(default=None, name="dify.message.id")
    duration: Seconds = field(default=None, name="dify.workflow.elapsed_time")

    @staticmethod
    def counts(facts: Facts) -> Counts:
        """Its tokens are the sum of its nodes', which are counted there: it owes none."""
        return Counts(Run("advanced-chat" if facts.inside else "workflow", UNKNOWN, status_of(facts.status)))


class PromptGeneration(Spending, frozen=True, gc=False, tag="dify.prompt_generation.execution"):
    subject: Text = field(default=None, name="dify.prompt_generation.operation_type")
    price: Price = field(default=None, name="dify.prompt_generation.total_price")
    currency: Text = field(default=None, name="dify.prompt_generation.currency")

    @staticmethod
    def counts(facts: Facts) -> Counts:
        """Generation C uses this event also for what has no event of its own: the model call of a message and the steps
        of an agent, which the message has too.
        """
        return Counts(spends=facts.subject not in ("llm", "agent"))


class SuggestedQuestion(Spending, frozen=True, gc=False, tag="dify.suggested_question.generation"):
    @staticmethod
    def counts(facts: Facts) -> Counts:  # noqa: ARG004
        return Counts(spends=True)


class Tool(Event, frozen=True, gc=False, tag="dify.tool.execution"):
    """Counts nothing, as all events outside the table; this one and the next two are frequent."""


class Retrieval(Event, frozen=True, gc=False, tag="dify.dataset.retrieval"):
    pass


class Moderation(Event, frozen=True, gc=False, tag="dify.moderation.check"):
    pass


TABLE: tuple[type[Event], ...] = (
    Node,
    Draft,
    Message,
    Workflow,
    PromptGeneration,
    SuggestedQuestion,
    Tool,
    Retrieval,
    Moderation,
)


def name_of(value: object) -> str:
    """A provider's or a model's name as a label."""
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else UNKNOWN


def app_id_of(value: object) -> str:
    """An app id: a UUID, anything else is unknown."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else UNKNOWN


def node_type_of(value: object) -> str:
    """A node's type, of the closed set of them."""
    return _one_of(value, _NODE_TYPES)


def status_of(value: object) -> str:
    """The status of a node, a run or a message, of the closed set of them."""
    return _one_of(value, _STATUSES)


def _one_of(value: object, known: frozenset[str]) -> str:
    if not isinstance(value, str) or value in ("", UNKNOWN):
        return UNKNOWN
    return value if value in known else OTHER
