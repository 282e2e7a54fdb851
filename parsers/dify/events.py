"""Telemetry events of a whole block at once: almost every line of an enterprise worker's log.

Each line is decoded by the type of its event. Events that differ only in their numbers are added up and have the
records of one of them; a line that is anything else, or not exactly as expected, is left to the plain way. A test
holds that both give the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from math import fsum
from operator import add, attrgetter, gt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field, structs

from parsers.batch import FirstToken, NodeRun, Record, Run, Usage
from parsers.dify import telemetry
from parsers.dify.block import Found, Line, by_quarter, decoded, lines_of, newest_of
from parsers.numbers import SECOND, money

#: Lines from which a block pays.
_MANY = 16
#: What such a line holds.
_SIGN = b'"telemetry.'

_Text = str | None
_Price = str | float | None
_Seconds = Annotated[float, Meta(ge=0, le=10_000_000)] | None
_Count = Annotated[int, Meta(ge=0, le=10**12)] | None


class _Event(Struct, frozen=True, gc=False, tag_field="dify.event.name"):
    """Numbers of one meaning have one name in all events.

    A field of type None is one that the plain way reads and that is not told here, or the line is left to it.
    """

    app_id: _Text = field(default=None, name="dify.app_id")
    attempt: None = field(default=None, name="dify.node.attempt")
    repeats: None = field(default=None, name="metrics_from_parent")


class _Told(Struct, frozen=True, gc=False):
    price: _Price = field(default=None, name="total_price")
    currency: _Text = None


_NOTHING = _Told()


class _Spending(_Event, frozen=True, gc=False):
    """A model call. Generations A and B tell its price under the event's own name, C in `dify.usage`."""

    given: _Count = field(default=None, name="gen_ai.usage.input_tokens")
    produced: _Count = field(default=None, name="gen_ai.usage.output_tokens")
    total: _Count = field(default=None, name="gen_ai.usage.total_tokens")
    provider: _Text = field(default=None, name="gen_ai.provider.name")
    model: _Text = field(default=None, name="gen_ai.request.model")
    usage: _Told = field(default=_NOTHING, name="dify.usage")
    cost_currency: _Text = field(default=None, name="dify.cost.currency")
    usage_currency: None = field(default=None, name="dify.usage.currency")


class _Node(_Spending, frozen=True, gc=False, tag="dify.node.execution"):
    node_type: _Text = field(default=None, name="dify.node.type")
    status: _Text = field(default=None, name="dify.node.status")
    duration: _Seconds = field(default=None, name="dify.node.elapsed_time")
    price: _Price = field(default=None, name="dify.node.total_price")
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
    price: _Price = field(default=None, name="dify.prompt_generation.total_price")
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


_NODE = attrgetter("app_id", "node_type", "status", "provider", "model", "currency", "cost_currency")

#: All that an event's records depend on but numbers.
_LABELS: Mapping[type, Callable[[Any], Any]] = {
    _Node: _NODE,
    _Draft: _NODE,
    _Message: lambda e: (e.app_id, not e.workflow_run, e.mode, e.status, e.provider, e.model, e.cost_currency),
    _Prompt: attrgetter("app_id", "operation", "provider", "model", "currency", "cost_currency"),
    _SuggestedQuestion: attrgetter("app_id", "provider", "model", "cost_currency"),
    **dict.fromkeys((_Tool, _Retrieval, _Moderation), type),
    _Workflow: lambda e: (e.app_id, e.status, not (e.conversation or e.message)),
}


class _Line(Line, frozen=True, gc=False):
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]
    attributes: _Node | _Draft | _Message | _Prompt | _SuggestedQuestion | _Workflow | _Tool | _Retrieval | _Moderation


_decode = msgspec.json.Decoder(_Line).decode


def read(block: bytes) -> Found:
    """The regular events among whole lines."""
    raws = lines_of(block, _SIGN)
    if len(raws) < _MANY:
        return Found((), None, 0, block)
    lines = decoded(raws, _decode)
    known = [line for line in lines if line is not None]
    sums, times, odd = _Sums(), list[str](), set[int]()
    for quarter, newest, members in by_quarter(known):
        for events in _alike([line.attributes for line in members]):
            if quarter is None or not sums.add(events, quarter):
                odd.update(map(id, events))
        if quarter is not None:
            times.append(newest)
    rest = []
    if odd or len(known) < len(raws):
        rest = [raw for raw, line in zip(raws, lines, strict=True) if line is None or id(line.attributes) in odd]
    return Found(sums.records(), newest_of(times), len(raws) - len(rest), b"".join(rest))


def _alike(events: Sequence[_Event]) -> Iterator[list[_Event]]:
    """The events that differ only in their numbers."""
    for kind in dict.fromkeys(map(type, events)):
        groups = defaultdict[Any, list[_Event]](list)
        members = [event for event in events if type(event) is kind]
        for labels, event in zip(map(_LABELS[kind], members), members, strict=True):
            groups[labels].append(event)
        yield from groups.values()


_decode_numbers = msgspec.json.Decoder(list[float]).decode
_Timed = NodeRun | Run | FirstToken


class _Sums:
    """The records of events: those that only times tell apart are one."""

    def __init__(self) -> None:
        self._timed = defaultdict[_Timed, list[tuple[int, list[float]]]](list)
        self._others = list[Record]()

    def add(self, events: Sequence[Any], quarter: int) -> bool:
        """Adds the records of events that differ only in numbers; not where the records may differ in more."""
        usage = _usage(events)
        if usage is None:
            return False
        sample, first_tokens = events[0], list[float]()
        if isinstance(sample, _Message) and (told := [event for event in events if event.first_token is not None]):
            sample, first_tokens = told[0], [event.first_token for event in told]
        for record in telemetry.records_of(msgspec.to_builtins(sample), quarter):
            if isinstance(record, FirstToken):
                self._time(record, first_tokens, len(first_tokens))
            elif isinstance(record, NodeRun | Run):
                durations = [seconds for event in events if (seconds := event.duration) is not None]
                self._time(record, durations, len(events))
            elif isinstance(record, Usage):
                self._others.append(structs.replace(record, count=len(events), **usage))
            else:
                self._others += [record] * len(events)
        return True

    def _time(self, record: _Timed, seconds: list[float], count: int) -> None:
        self._timed[structs.replace(record, duration=None)].append((count, seconds))

    def records(self) -> list[Record]:
        """In one go: a number of times is sorted faster in seconds than in nanoseconds, where it is needed sorted."""
        for timed, parts in self._timed.items():
            count, seconds = sum(count for count, _ in parts), sorted(chain(*[times for _, times in parts]))
            durations = tuple([round(each * SECOND) for each in seconds])
            self._others.append(structs.replace(timed, count=count, durations=durations))
        return self._others


def _usage(events: Sequence[Any]) -> dict[str, Any] | None:
    """The sums of tokens and price; nothing where no event tells any, None where a sum would not be what each says."""
    first, count = events[0], len(events)
    if isinstance(first, _Workflow | _Uncounted):
        return {}
    prices, usages = [event.price for event in events], [event.usage for event in events]
    if usages.count(_NOTHING) < count:
        if prices.count(None) < count or not (first.currency or first.cost_currency):
            return None
        prices = [usage.price for usage in usages]
    try:
        tokens = _tokens(events)
        if not tokens or prices.count(None) == count:
            return tokens if prices.count(None) == count else None
        cost = _sum(prices)
    except (TypeError, InvalidOperation):  # a count that is not told; a price that is none
        return None
    return None if cost is None else {**tokens, "cost": cost}


def _tokens(events: Sequence[Any]) -> dict[str, int] | None:
    """The same of tokens alone. Raises TypeError where one of two counts is not told."""
    given, produced, totals = (
        [event.given for event in events], [event.produced for event in events], [event.total for event in events],
    )  # fmt: skip
    told = len(events) - totals.count(None)
    if given.count(None) == produced.count(None) == len(events):
        if not told:
            return {}
        return {"unsplit_tokens": sum(totals)} if told == len(events) and 0 not in totals else None
    parts = list(map(add, given, produced))
    # Told everywhere, a total is nearly always the sum of its parts.
    if 0 in parts or (parts != totals and told and any(map(gt, parts, totals))):
        return None
    return {"input_tokens": sum(given), "output_tokens": sum(produced)}


def _sum(prices: Sequence[str | float]) -> Decimal | None:
    """None where one would have to be rounded, or `parsers.numbers.money` does not take it. Raises InvalidOperation."""
    texts = list(map(str, prices))
    joined = ",".join(texts)
    if max(map(len, texts)) <= len("0.123456789012") and not ("e" in joined or "E" in joined or "-" in joined):
        # No more than 12 decimals: below a thousand in all, floats are off by less than a third of the last one.
        try:
            numbers = _decode_numbers(f"[{joined}]")
        except msgspec.DecodeError:  # Decimal takes more than JSON
            numbers = []
        if len(numbers) == len(texts) and (total := fsum(numbers)) < 1000:
            return Decimal(round(total * 10**12)).scaleb(-12)
    amounts = list(map(Decimal, texts))
    exact = sum(amounts, Decimal())
    exponent = exact.as_tuple().exponent
    return money(exact) if isinstance(exponent, int) and exponent >= -12 and min(amounts) >= 0 else None
