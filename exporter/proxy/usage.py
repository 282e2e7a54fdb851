"""Tokens and money out of Dify's answers, each counted once (core/app/apps, graphon's LLMUsage).

A workflow's total holds its nodes', a chatflow's message holds its llm nodes'. So what is told in a wider frame
adds only what the narrower ones do not explain.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from parsers.dify.proxy import UsageEntry
from parsers.values.numbers import money, token_count

_MOST_ENTRIES = 32
_NAME_LENGTH = 128
_CONTAINERS = ("iteration", "loop")  # no set: what is looked up may be a list
#: Written for a count that is none, so that the reader says `inconsistent`.
_NO_COUNT = -1


class Spent(Struct):
    """Tokens and price under one name; None is not told. `wrong` where a count was none."""

    provider: str | None = None
    model: str | None = None
    input: int | None = None
    output: int | None = None
    unsplit: int | None = None
    price: Decimal | None = None
    currency: str | None = None
    wrong: bool = False

    @property
    def total(self) -> int:
        return (self.input or 0) + (self.output or 0) + (self.unsplit or 0)

    def entry(self) -> UsageEntry:
        """As the line has it."""
        counts = [self.input, self.output, self.unsplit]
        if self.wrong:
            counts[counts.index(None) if None in counts else 0] = _NO_COUNT
        price = None if self.price is None else f"{self.price.normalize():f}"
        return UsageEntry(self.provider, self.model, counts[0], counts[1], counts[2], price, self.currency)


class UsageTotals:
    """What one answer tells about its usage."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str | None, str | None, str | None], Spent] = {}
        self._message: Spent | None = None
        self._workflow: Spent | None = None

    def node(self, data: Mapping[str, Any]) -> None:
        """`data` of node_finished. Without a model or a total of its own it tells nothing that can be trusted."""
        process, executed = inside(data, "process_data"), inside(data, "execution_metadata")
        usage = inside(process, "usage") or inside(data, "outputs", "usage")
        known = bool(process.get("model_name")) or executed.get("total_tokens") is not None
        if not known or data.get("node_type") in _CONTAINERS or not (usage or process.get("model_name")):
            return
        spent = _spent({**executed, **{name: value for name, value in usage.items() if value is not None}})
        spent.provider, spent.model = _name(process.get("model_provider")), _name(process.get("model_name"))
        key = (spent.provider, spent.model, spent.currency)
        if len(self._nodes) >= _MOST_ENTRIES and key not in self._nodes:
            spent.provider = spent.model = None
            key = (None, None, spent.currency)
        self._nodes[key] = _sum((self._nodes[key], spent)) if key in self._nodes else spent

    def message(self, usage: Mapping[str, Any], model: object = None) -> None:
        """`usage` of a whole message, in Dify's words, which are OpenAI's."""
        if any(usage.get(name) is not None for name in ("prompt_tokens", "completion_tokens", "total_tokens")):
            self._message = _spent(usage)
            self._message.model = _name(model)

    def workflow(self, total: object) -> None:
        """`total_tokens` of a whole run."""
        if total is not None:
            self._workflow = _spent({"total_tokens": total})

    @property
    def empty(self) -> bool:
        return not (self._nodes or self._message or self._workflow)

    def entries(self) -> tuple[UsageEntry, ...]:
        """One entry a model; the first is the one that answered first."""
        told = list(self._nodes.values())
        for wider in (self._message, self._workflow):
            if wider is not None and (not told or _adds(rest := _less(wider, _sum(told)))):
                told.append(rest if told else wider)
        return tuple(spent.entry() for spent in told)


def inside(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, {} where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _spent(usage: Mapping[str, Any]) -> Spent:
    told = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    given, produced, total = (token_count(value) for value in told)
    split = given is not None or produced is not None
    return Spent(
        input=given,
        output=produced,
        unsplit=None if split else total,
        price=money(usage.get("total_price")),
        currency=_name(usage.get("currency")),
        wrong=any(value is not None and token_count(value) is None for value in told),
    )


def _sum(parts: Iterable[Spent]) -> Spent:
    whole = Spent()
    for part in parts:
        whole.provider, whole.model = part.provider, part.model
        whole.input, whole.output = _plus(whole.input, part.input), _plus(whole.output, part.output)
        whole.unsplit = _plus(whole.unsplit, part.unsplit)
        if part.price is not None:
            whole.price = part.price + (whole.price or 0)
        whole.currency = part.currency or whole.currency
        whole.wrong = whole.wrong or part.wrong
    return whole


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _less(whole: Spent, parts: Spent) -> Spent:
    """What the parts leave of the whole, under no model's name."""
    price = None
    if whole.price is not None and parts.currency in (None, whole.currency):
        price = max(whole.price - (parts.price or 0), Decimal(0)) or None
    if whole.unsplit is not None or parts.unsplit:
        return Spent(unsplit=max(whole.total - parts.total, 0), price=price, currency=whole.currency)
    return Spent(
        input=max((whole.input or 0) - (parts.input or 0), 0),
        output=max((whole.output or 0) - (parts.output or 0), 0),
        price=price,
        currency=whole.currency,
    )


def _adds(rest: Spent) -> bool:
    return bool(rest.total or rest.price)


def _name(value: object) -> str | None:
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else None
