"""Tokens and money out of Dify's answers, each counted once (core/app/apps, graphon's LLMUsage).

A workflow's total contains its nodes', a chatflow's message contains its llm nodes'. So a wider frame adds only what
the narrower ones do not explain.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from parsers.dify.proxy import UsageEntry
from parsers.dify.tokens import TokenCounts
from parsers.values.currencies import is_currency
from parsers.values.numbers import money, token_count

_MOST_ENTRIES = 32
_NAME_LENGTH = 128
_CONTAINERS = ("iteration", "loop")  # no set: what is looked up may be a list
#: Written in place of a value that is no count, so that the reader reports `inconsistent`.
_NO_COUNT = -1


class Spent(Struct):
    """Tokens and price under one name; None where the answer reports nothing. `unsplit` is what the total has more
    than input and output. `wrong` where a value is no count, or the total is less than its parts.
    """

    provider: str | None = None
    model: str | None = None
    input: int | None = None
    output: int | None = None
    unsplit: int | None = None
    price: Decimal | None = None
    currency: str | None = None
    wrong: bool = False

    @property
    def is_split(self) -> bool:
        return self.input is not None or self.output is not None

    @property
    def total(self) -> int:
        return (self.input or 0) + (self.output or 0) + (self.unsplit or 0)

    @property
    def something(self) -> bool:
        return bool(self.total or self.price)

    def entry(self) -> UsageEntry:
        """As the line has it: with a total only where input and output do not make it."""
        counts = [self.input, self.output, None if self.unsplit is None else self.total]
        if self.wrong and None in counts:
            counts[counts.index(None)] = _NO_COUNT
        price = None if self.price is None else f"{self.price.normalize():f}"
        return UsageEntry(self.provider, self.model, counts[0], counts[1], counts[2], price, self.currency)


class UsageTotals:
    """What one answer reports about its usage. `of_workflow` is True for a workflow, which may have no model."""

    def __init__(self) -> None:
        self.of_workflow = False
        self._nodes: dict[tuple[str | None, str | None, str | None, bool], Spent] = {}
        self._message: Spent | None = None
        self._workflow: Spent | None = None

    def node(self, data: Mapping[str, Any]) -> None:
        """`data` of node_finished. Without a model or a total of its own its usage cannot be trusted."""
        process, executed = inside(data, "process_data"), inside(data, "execution_metadata")
        usage = inside(process, "usage") or inside(data, "outputs", "usage")
        known = bool(process.get("model_name")) or executed.get("total_tokens") is not None
        if not known or data.get("node_type") in _CONTAINERS or not (usage or process.get("model_name")):
            return
        spent = _spent({**executed, **{name: value for name, value in usage.items() if value is not None}})
        if data.get("status") != "succeeded" and not spent.something:  # it owes nothing
            return
        spent.provider, spent.model = _name(process.get("model_provider")), _name(process.get("model_name"))
        key = (spent.provider, spent.model, spent.currency, spent.is_split)
        if len(self._nodes) >= _MOST_ENTRIES and key not in self._nodes:
            spent.provider = spent.model = None
            key = (None, None, spent.currency, spent.is_split)
        self._nodes[key] = _sum((self._nodes[key], spent)) if key in self._nodes else spent

    def message(self, usage: Mapping[str, Any], model: object = None) -> None:
        """`usage` of a whole message, in Dify's words, which are OpenAI's."""
        if any(usage.get(name) is not None for name in ("prompt_tokens", "completion_tokens", "total_tokens")):
            self._message = _spent(usage)
            self._message.model = _name(model)

    def workflow(self, total: object) -> None:
        """`total_tokens` of a whole run."""
        self.of_workflow = True
        if total is not None:
            self._workflow = _spent({"total_tokens": total})

    @property
    def empty(self) -> bool:
        return not (self._nodes or self._message or self._workflow)

    def entries(self) -> tuple[UsageEntry, ...]:
        """One entry per model; the first is the one that answered first. A workflow without any usage has an entry
        with a total of 0 and no model: nothing is owed.
        """
        found = list(self._nodes.values())
        for wider in (self._message, self._workflow):
            if wider is None or (self.of_workflow and not wider.something and not wider.wrong):
                continue
            if not found or (rest := _less(wider, _sum(found))).something:
                found.append(rest if found else wider)
        if self.of_workflow and not found:
            found.append(Spent(unsplit=0))
        return tuple(spent.entry() for spent in found)


def inside(value: object, *names: str) -> Mapping[str, Any]:
    """The object under these names, {} where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _spent(usage: Mapping[str, Any]) -> Spent:
    values = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    given, produced, total = (token_count(value) for value in values)
    unsplit = TokenCounts(given, produced, total).split[2]
    wrong = any(value is not None and token_count(value) is None for value in values)
    if given is not None or produced is not None:
        wrong = wrong or (total is not None and total < (given or 0) + (produced or 0))
        unsplit = unsplit or None
    return Spent(
        input=given,
        output=produced,
        unsplit=unsplit,
        price=money(usage.get("total_price")),
        currency=currency if is_currency(currency := usage.get("currency")) else None,
        wrong=wrong,
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


def _name(value: object) -> str | None:
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else None
