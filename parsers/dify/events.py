"""Telemetry events of a whole block at once: almost every line of an enterprise worker's log.

Each line is decoded by the type of its event, and events are added up. A line that is anything else, or not exactly as
expected, is left to the plain way. A test holds that both give the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from parsers.dify.block import Found, Line, by_quarter, decoded, newest_of, parts_of
from parsers.dify.spending import UNPRICED, Price, Priced
from parsers.dify.sums import Sums, apart

#: What such a line holds.
_SIGN = b'"telemetry.'

_Text = str | None
_Duration = Annotated[float, Meta(ge=0, le=10_000_000)] | None
_Count = Annotated[int, Meta(ge=0, le=10**12)] | None


class _Event(Struct, frozen=True, gc=False, tag_field="dify.event.name"):
    """Numbers of one meaning have one name in all events.

    A field of type None is one that the plain way reads and that is not told here, or the line is left to it.
    """

    app_id: _Text = field(default=None, name="dify.app_id")
    attempt: None = field(default=None, name="dify.node.attempt")
    repeats: None = field(default=None, name="metrics_from_parent")


class _Spending(_Event, frozen=True, gc=False):
    """A model call. Generations A and B tell its price under the event's own name, C in `dify.usage`."""

    given: _Count = field(default=None, name="gen_ai.usage.input_tokens")
    produced: _Count = field(default=None, name="gen_ai.usage.output_tokens")
    total: _Count = field(default=None, name="gen_ai.usage.total_tokens")
    provider: _Text = field(default=None, name="gen_ai.provider.name")
    model: _Text = field(default=None, name="gen_ai.request.model")
    usage: Priced = field(default=UNPRICED, name="dify.usage")
    cost_currency: _Text = field(default=None, name="dify.cost.currency")
    usage_currency: None = field(default=None, name="dify.usage.currency")


class _Node(_Spending, frozen=True, gc=False, tag="dify.node.execution"):
    node_type: _Text = field(default=None, name="dify.node.type")
    status: _Text = field(default=None, name="dify.node.status")
    duration: _Duration = field(default=None, name="dify.node.elapsed_time")
    price: Price = field(default=None, name="dify.node.total_price")
    currency: _Text = field(default=None, name="dify.node.currency")
    usage_price: None = field(default=None, name="dify.usage.total_price")
    prompt_currency: None = field(default=None, name="dify.prompt_generation.currency")
    links: tuple[()] | None = field(default=None, name="dify.trace.links")


class _Draft(_Node, frozen=True, gc=False, tag="dify.node.execution.draft"):
    pass


class _Message(_Spending, frozen=True, gc=False, tag="dify.message.run"):
    workflow_run: _Text = field(default=None, name="dify.workflow.run_id")
    mode: _Text = field(default=None, name="dify.conversation.mode")
    status: _Text = field(default=None, name="dify.message.status")
    duration: _Duration = field(default=None, name="dify.message.duration")
    first_token: _Duration = field(default=None, name="dify.message.time_to_first_token")
    price: None = field(default=None, name="dify.usage.total_price")
    currency: None = field(default=None, name="dify.node.currency")
    prompt_currency: None = field(default=None, name="dify.prompt_generation.currency")


class _Prompt(_Spending, frozen=True, gc=False, tag="dify.prompt_generation.execution"):
    operation: _Text = field(default=None, name="dify.prompt_generation.operation_type")
    price: Price = field(default=None, name="dify.prompt_generation.total_price")
    currency: _Text = field(default=None, name="dify.prompt_generation.currency")
    usage_price: None = field(default=None, name="dify.usage.total_price")
    node_currency: None = field(default=None, name="dify.node.currency")


class _SuggestedQuestion(_Spending, frozen=True, gc=False, tag="dify.suggested_question.generation"):
    price: None = field(default=None, name="dify.usage.total_price")
    currency: None = field(default=None, name="dify.node.currency")
    prompt_currency: None = field(default=None, name="dify.prompt_generation.currency")


class _Workflow(_Event, frozen=True, gc=False, tag="dify.workflow.run"):
    status: _Text = field(default=None, name="dify.workflow.status")
    duration: _Duration = field(default=None, name="dify.workflow.elapsed_time")
    conversation: _Text = field(default=None, name="dify.conversation.id")
    message: _Text = field(default=None, name="dify.message.id")


class _Uncounted(_Event, frozen=True, gc=False):
    """One without records, as are all that are not named here; these are many."""


class _Tool(_Uncounted, frozen=True, gc=False, tag="dify.tool.execution"):
    pass


class _Retrieval(_Uncounted, frozen=True, gc=False, tag="dify.dataset.retrieval"):
    pass


class _Moderation(_Uncounted, frozen=True, gc=False, tag="dify.moderation.check"):
    pass


class _Line(Line, frozen=True, gc=False):
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]
    attributes: _Node | _Draft | _Message | _Prompt | _SuggestedQuestion | _Workflow | _Tool | _Retrieval | _Moderation


_decode = msgspec.json.Decoder(_Line).decode

#: Those that have records.
_KINDS: Mapping[type[_Event], Callable[[Sums, Sequence[Any], int], None]] = {
    _Node: Sums.nodes,
    _Draft: Sums.nodes,
    _Message: Sums.messages,
    _Workflow: Sums.workflows,
    _Prompt: Sums.prompts,
    _SuggestedQuestion: Sums.suggested_questions,
}


def read(block: bytes) -> Found:
    """The regular events among whole lines."""
    sums, times, lines, rest = Sums(), list[str](), 0, list[bytes]()
    for raws in parts_of(block, _SIGN):
        found, odd = decoded(raws, _decode), set[int]()
        known = [line for line in found if line is not None]
        for quarter, newest, members in by_quarter(known):
            if quarter is None:
                odd.update(map(id, members))
            else:
                for kind, events in apart([line.attributes for line in members], type):
                    if kind in _KINDS:
                        _KINDS[kind](sums, events, quarter)
                times.append(newest)
        lines += len(raws)
        if odd or len(known) < len(raws):
            rest += [raw for raw, line in zip(raws, found, strict=True) if line is None or id(line) in odd]
    if not lines:
        return Found((), None, 0, block)
    return Found(sums.records(), newest_of(times), lines - len(rest), b"".join(rest))
