"""Telemetry events of a whole block at once: almost every line of an enterprise worker's log.

Each line is decoded by the type of its event. Events that differ only in their numbers are added up and have the
records of one of them; a line that is anything else, or not exactly as expected, is left to the plain way. A test
holds that both give the same.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from io import BytesIO
from itertools import repeat
from operator import add, attrgetter, gt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field, structs

from parsers.batch import FirstToken, NodeRun, Record, Run, Usage
from parsers.dify import telemetry
from parsers.numbers import SECOND, money
from parsers.times import iso, zone

#: Lines from which a block pays, and bytes in which the first one in braces begins.
_MANY = 16
_SOON = 1 << 16

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


_NODE = attrgetter("app_id", "node_type", "status", "provider", "model", "currency", "cost_currency")

#: All that an event's records depend on but numbers.
_LABELS: Mapping[type, Callable[[Any], Any]] = {
    _Node: _NODE,
    _Draft: _NODE,
    _Message: lambda e: (e.app_id, not e.workflow_run, e.mode, e.status, e.provider, e.model, e.cost_currency),
    _Prompt: attrgetter("app_id", "operation", "provider", "model", "currency", "cost_currency"),
    _SuggestedQuestion: attrgetter("app_id", "provider", "model", "cost_currency"),
    _Workflow: lambda e: (e.app_id, e.status, not (e.conversation or e.message)),
}


class _Line(Struct, frozen=True, gc=False):
    ts: Annotated[str, Meta(min_length=24, max_length=24)]
    message: Literal["telemetry.span_detail", "telemetry.metric_only"]
    attributes: _Node | _Draft | _Message | _Prompt | _SuggestedQuestion | _Workflow


_decode = msgspec.json.Decoder(_Line).decode

#: A time as Dify writes it, its digits made equal; where its minute ends and its seconds begin.
_TIME = b"0000-00-00T00:00:00.000Z"
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MINUTE = len("2026-11-23T08:53")
_SECONDS = len("2026-11-23T08:53:")
_UTC = zone("UTC")


class _Quarters(dict[str, int | None]):
    """The quarter of an hour that a minute lies in, as its first nanosecond; None where there is no such minute."""

    def __missing__(self, minute: str) -> int | None:
        known = iso(f"{minute}:00Z".encode(), _UTC)
        self[minute] = quarter = None if known is None else known - known % (900 * SECOND)
        return quarter


def read(block: bytes) -> tuple[list[Record], int | None, int, bytes]:
    """The records of the regular events among whole lines, their newest time and number, and all other lines."""
    if not block.startswith(b"{") and b"\n{" not in block[:_SOON]:
        return [], None, 0, block
    raws = BytesIO(block).readlines()  # a quarter of what split costs
    if len(raws) < _MANY:
        return [], None, 0, block
    lines = _regular(raws)
    known = [line for line in lines if line is not None]
    found, odd, newest = _Found(), set[int](), ""
    for quarter, latest, members in _by_quarter(known):
        for events in _alike([line.attributes for line in members]):
            if quarter is None or not found.add(events, quarter):
                odd.update(map(id, events))
        newest = newest if quarter is None else max(newest, latest)
    rest = []
    if odd or len(known) < len(raws):
        rest = [raw for raw, line in zip(raws, lines, strict=True) if line is None or id(line.attributes) in odd]
    return found.records(), iso(newest.encode(), _UTC), len(raws) - len(rest), b"".join(rest)


def _regular(raws: list[bytes]) -> list[_Line | None]:
    """The lines, decoded; None in place of one that is no event or not as expected."""
    lines = list[_Line | None]()
    waiting = iter(raws)
    while len(lines) < len(raws):
        try:
            lines.extend(map(_decode, waiting))
        except (ValueError, RecursionError):
            lines.append(None)
    times = [_TIME.decode() if line is None else line.ts for line in lines]
    if all(map(bytes.startswith, raws, repeat(b"{"))) and _are_times(times):
        return lines
    return [
        line if raw.startswith(b"{") and _are_times([time]) else None
        for raw, line, time in zip(raws, lines, times, strict=True)
    ]


def _are_times(texts: list[str]) -> bool:
    """Whether these texts of 24 characters have the shape of times and no second beyond 59."""
    joined = "".join(texts).encode("ascii", "replace")
    return joined.translate(_DIGITS) == _TIME * len(texts) and max(joined[_SECONDS :: len(_TIME)]) <= ord("5")


def _by_quarter(lines: Sequence[_Line]) -> Iterator[tuple[int | None, str, Sequence[_Line]]]:
    """Quarters of an hour, the newest time in each as written, and its lines."""
    times, quarters = [line.ts for line in lines], _Quarters()
    if not times:
        return
    newest = max(times)
    if quarters[newest[:_MINUTE]] == quarters[min(times)[:_MINUTE]]:
        yield quarters[newest[:_MINUTE]], newest, lines
        return
    groups = defaultdict[int | None, list[_Line]](list)
    for line in lines:
        groups[quarters[line.ts[:_MINUTE]]].append(line)
    for quarter, members in groups.items():
        yield quarter, max([line.ts for line in members]), members


def _alike(events: Sequence[_Event]) -> Iterator[list[_Event]]:
    """The events that differ only in their numbers."""
    for kind in dict.fromkeys(map(type, events)):
        groups = defaultdict[Any, list[_Event]](list)
        members = [event for event in events if type(event) is kind]
        for labels, event in zip(map(_LABELS[kind], members), members, strict=True):
            groups[labels].append(event)
        yield from groups.values()


_Timed = NodeRun | Run | FirstToken


class _Found:
    """The records of events: those that only times tell apart are one."""

    def __init__(self) -> None:
        self._seconds = defaultdict[_Timed, list[float]](list)
        self._counts = defaultdict[_Timed, int](int)
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
        timed = structs.replace(record, duration=None)
        self._seconds[timed] += seconds
        self._counts[timed] += count

    def records(self) -> list[Record]:
        """In one go: a number of times is sorted faster in seconds than in nanoseconds, where it is needed sorted."""
        for timed, seconds in self._seconds.items():
            durations = tuple([round(each * SECOND) for each in sorted(seconds)])
            self._others.append(structs.replace(timed, count=self._counts[timed], durations=durations))
        return self._others


def _usage(events: Sequence[Any]) -> dict[str, Any] | None:
    """The sums of tokens and price; nothing where no event tells any, None where a sum would not be what each says."""
    first, count = events[0], len(events)
    if isinstance(first, _Workflow):
        return {}
    given, produced, totals = (
        [event.given for event in events], [event.produced for event in events], [event.total for event in events],
    )  # fmt: skip
    prices, usages = [event.price for event in events], [event.usage for event in events]
    if usages.count(_NOTHING) < count:
        if prices.count(None) < count or not (first.currency or first.cost_currency):
            return None
        prices = [usage.price for usage in usages]
    unpriced = prices.count(None)
    if given.count(None) == count:
        return {} if unpriced == count and {*produced, *totals} == {None} else None
    if unpriced not in (0, count):
        return None
    try:
        parts = list(map(add, given, produced))
        if not min(parts) or (totals.count(None) != count and any(map(gt, parts, totals))):
            return None
        cost = None if unpriced else _sum(prices)
    except (TypeError, InvalidOperation):  # a count that is not told; a price that is none
        return None
    if cost is None and not unpriced:
        return None
    return {"input_tokens": sum(given), "output_tokens": sum(produced), "cost": cost}


def _sum(prices: Sequence[str | float]) -> Decimal | None:
    """None where one would have to be rounded, or is none that `parsers.numbers.money` takes."""
    amounts = list(map(Decimal, map(str, prices)))
    total = sum(amounts, Decimal())
    exponent = total.as_tuple().exponent
    return money(total) if isinstance(exponent, int) and exponent >= -12 and min(amounts) >= 0 else None
