"""Telemetry events of a whole block at once: almost every line of an enterprise worker's log.

Each line is decoded by the type of its event, and only the numbers of events that differ in nothing else are kept
and added up. Events that cannot be added up are read the plain way one by one, and a line that is anything else, or not
exactly as expected, is left to it. A test holds that all ways give the same.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct, field, structs

from parsers.batch import FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.currencies import currency_of
from parsers.dify import telemetry
from parsers.dify.block import Found, Line, by_quarter, decoded, newest_of, parts_of
from parsers.dify.spending import UNPRICED, Price, Priced, used
from parsers.numbers import SECOND

#: What such a line holds.
_SIGN = b'"telemetry.'

_Text = str | None
_Seconds = Annotated[float, Meta(ge=0, le=10_000_000)] | None
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
    duration: _Seconds = field(default=None, name="dify.node.elapsed_time")
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
    duration: _Seconds = field(default=None, name="dify.message.duration")
    first_token: _Seconds = field(default=None, name="dify.message.time_to_first_token")
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
    duration: _Seconds = field(default=None, name="dify.workflow.elapsed_time")
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


def read(block: bytes) -> Found:
    """The regular events among whole lines."""
    sums, times, lines, rest = _Sums(), list[str](), 0, list[bytes]()
    for raws in parts_of(block, _SIGN):
        found, odd = decoded(raws, _decode), set[int]()
        known = [line for line in found if line is not None]
        for quarter, newest, members in by_quarter(known):
            if quarter is None:
                odd.update(map(id, members))
            else:
                sums.add([line.attributes for line in members], quarter)
                times.append(newest)
        lines += len(raws)
        if odd or len(known) < len(raws):
            rest += [raw for raw, line in zip(raws, found, strict=True) if line is None or id(line) in odd]
    if not lines:
        return Found((), None, 0, block)
    return Found(sums.records(), newest_of(times), lines - len(rest), b"".join(rest))


_Labels = tuple[str | None, ...]
_Timed = NodeRun | Run | FirstToken


class _Sums:
    """The numbers of events that differ in nothing else, and at last the records of all events.

    A method for a kind of event adds the records of a group; it adds nothing and gives False where they would not be
    what each event says.
    """

    def __init__(self) -> None:
        self._groups = defaultdict[tuple[type, int], defaultdict[_Labels, list[Any]]](lambda: defaultdict(list))
        self._times = defaultdict[_Timed, list[float | None]](list)
        self._records = list[Record]()

    def add(self, events: Sequence[_Event], quarter: int) -> None:
        for kind in dict.fromkeys(map(type, events)):
            if kind in _KINDS:
                groups, members = self._groups[kind, quarter], [event for event in events if type(event) is kind]
                labels, numbers = map(_KINDS[kind].labels, members), map(_KINDS[kind].numbers, members)
                for key, value in zip(labels, numbers, strict=True):
                    groups[key].append(value)

    def records(self) -> list[Record]:
        for (kind, quarter), groups in self._groups.items():
            for labels, members in groups.items():
                if not _KINDS[kind].sum(self, labels, members, quarter):
                    self._singly(kind, labels, members, quarter)
        for timed, seconds in self._times.items():  # sorted faster than nanoseconds, and where it is needed sorted
            known = sorted([each for each in seconds if each is not None])
            durations = tuple([round(each * SECOND) for each in known])
            self._records.append(structs.replace(timed, count=len(seconds), durations=durations))
        return self._records

    def node(self, labels: _Labels, members: list[Any], at: int) -> bool:
        app_id, node_type, status, provider, model, currency, cost_currency = labels
        *calls, seconds = zip(*members, strict=True)
        run = NodeRun(telemetry.node_type_of(node_type), telemetry.status_of(status))
        if telemetry.spends(run.node_type, model):
            owed = telemetry.owes(run.node_type, run.status)
            if not self._spent((app_id, provider, model, currency or cost_currency), calls, at, owed=owed):
                return False
        self._times[run].extend(seconds)
        return True

    def message(self, labels: _Labels, members: list[Any], at: int) -> bool:
        app_id, workflow_run, mode, status, provider, model, currency = labels
        *calls, seconds, first_tokens = zip(*members, strict=True)
        if not workflow_run:
            if not self._spent((app_id, provider, model, currency), calls, at):
                return False
            run = Run(telemetry.run_kind_of(mode), telemetry.app_id_of(app_id), telemetry.status_of(status))
            self._times[run].extend(seconds)
        if told := [each for each in first_tokens if each is not None]:
            self._times[FirstToken(telemetry.app_id_of(app_id), telemetry.name_of(model))].extend(told)
        return True

    def workflow(self, labels: _Labels, members: list[float | None], _: int) -> bool:
        app_id, status, chat = labels
        kind = "advanced-chat" if chat else "workflow"
        self._times[Run(kind, telemetry.app_id_of(app_id), telemetry.status_of(status))].extend(members)
        return True

    def prompt(self, labels: _Labels, members: list[Any], at: int) -> bool:
        app_id, operation, provider, model, currency, cost_currency = labels
        if telemetry.is_told_elsewhere(operation):
            return True
        return self._spent((app_id, provider, model, currency or cost_currency), [*zip(*members, strict=True)], at)

    def suggested_question(self, labels: _Labels, members: list[Any], at: int) -> bool:
        return self._spent(labels, [*zip(*members, strict=True)], at)

    def _spent(self, labels: _Labels, calls: Sequence[Sequence[Any]], at: int, *, owed: bool = False) -> bool:
        app_id, provider, model, currency = labels
        amounts, count = used(currency, *calls), len(calls[0])
        if amounts is None:
            return False
        if amounts:
            name = telemetry.app_id_of(app_id), telemetry.name_of(provider), telemetry.name_of(model)
            self._records.append(Usage(*name, **amounts, currency=currency_of(currency), at=at, count=count))
        elif owed:
            self._records += [UsageMissing(telemetry.app_id_of(app_id), "absent")] * count
        return True

    def _singly(self, kind: type[_Event], labels: _Labels, members: list[Any], at: int) -> None:
        for numbers in members:
            event = kind(**dict(zip(_KINDS[kind].fields, (*labels, *numbers), strict=True)))
            self._records += telemetry.records_of(msgspec.to_builtins(event), at)


class _Kind(NamedTuple):
    """All of an event that its records depend on: what a group has in common, and numbers; `fields` names both."""

    sum: Callable[[_Sums, _Labels, list[Any], int], bool]
    labels: Callable[[Any], _Labels]
    numbers: Callable[[Any], Any]
    fields: tuple[str, ...]


_CALL = ("given", "produced", "total", "price", "usage")
_NODE = ("app_id", "node_type", "status", "provider", "model", "currency", "cost_currency")
_MESSAGE = ("app_id", "workflow_run", "mode", "status", "provider", "model", "cost_currency")
_PROMPT = ("app_id", "operation", "provider", "model", "currency", "cost_currency")
_QUESTION = ("app_id", "provider", "model", "cost_currency")


def _kind(sum: Callable[[_Sums, _Labels, list[Any], int], bool], labels: tuple[str, ...], *numbers: str) -> _Kind:
    return _Kind(sum, attrgetter(*labels), attrgetter(*numbers), (*labels, *numbers))


def _of_workflow(e: _Workflow) -> _Labels:
    return e.app_id, e.status, (e.conversation or e.message) and "told"


def _of_message(e: _Message) -> _Labels:
    return e.app_id, e.workflow_run and "told", e.mode, e.status, e.provider, e.model, e.cost_currency


#: Of an id it matters only whether there is one.
_KINDS: Mapping[type[_Event], _Kind] = {
    **dict.fromkeys((_Node, _Draft), _kind(_Sums.node, _NODE, *_CALL, "duration")),
    _Message: _kind(_Sums.message, _MESSAGE, *_CALL, "duration", "first_token")._replace(labels=_of_message),
    _Prompt: _kind(_Sums.prompt, _PROMPT, *_CALL),
    _SuggestedQuestion: _kind(_Sums.suggested_question, _QUESTION, *_CALL),
    _Workflow: _Kind(_Sums.workflow, _of_workflow, attrgetter("duration"), ()),
}
