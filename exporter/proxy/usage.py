"""Collects tokens and cost from Dify's responses, each counted once (core/app/apps, graphon's LLMUsage).

The total of a workflow includes the usage of its nodes; the message of a chatflow includes the usage of its LLM nodes.
Therefore a message or a workflow adds only the difference to the sum of its parts.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.proxy.bounded_json import nested
from parsers.dify.proxy import UsageEntry
from parsers.dify.tokens import TokenCounts
from parsers.values.currencies import is_currency
from parsers.values.numbers import money, token_count

_MAX_NODE_ENTRIES = 32
_MAX_NAME_LENGTH = 128
_CONTAINERS = ("iteration", "loop")  # not a set: the value that is looked up may be unhashable
#: Logged instead of a value that is no count. The parser of the line (parsers/dify/proxy.py) reports `inconsistent`.
_INVALID_COUNT = -1


class ModelUsage(Struct):
    """Tokens and price of one model. A value that the response does not report is None.

    `unsplit` is the total minus input and output tokens. `is_inconsistent` is True if a value is no count, or if the
    total is less than the sum of its parts.
    """

    provider: str | None = None
    model: str | None = None
    input: int | None = None
    output: int | None = None
    unsplit: int | None = None
    price: Decimal | None = None
    currency: str | None = None
    is_inconsistent: bool = False

    @property
    def is_split(self) -> bool:
        return self.input is not None or self.output is not None

    @property
    def total(self) -> int:
        return (self.input or 0) + (self.output or 0) + (self.unsplit or 0)

    @property
    def has_usage(self) -> bool:
        return bool(self.total or self.price)

    def entry(self) -> UsageEntry:
        """The entry for the log line. It has a total only if the total is not input plus output."""
        counts = [self.input, self.output, None if self.unsplit is None else self.total]
        if self.is_inconsistent and None in counts:
            counts[counts.index(None)] = _INVALID_COUNT
        price = None if self.price is None else f"{self.price.normalize():f}"
        return UsageEntry(self.provider, self.model, counts[0], counts[1], counts[2], price, self.currency)


class UsageTotals:
    """The usage that one response reports. `is_workflow` is True for a workflow, which may call no model."""

    def __init__(self) -> None:
        self.is_workflow = False
        self._nodes: dict[tuple[str | None, str | None, str | None, bool], ModelUsage] = {}
        self._message: ModelUsage | None = None
        self._workflow: ModelUsage | None = None

    def add_node(self, data: Mapping[str, Any]) -> None:
        """Add the usage of a node. `data` is the `data` of a node_finished event.

        A node without a model name and without a total in its execution metadata is ignored: the outputs of a code
        node can contain anything under `usage`.
        """
        process, metadata = nested(data, "process_data"), nested(data, "execution_metadata")
        usage = nested(process, "usage") or nested(data, "outputs", "usage")
        is_model_node = bool(process.get("model_name")) or metadata.get("total_tokens") is not None
        if not is_model_node or data.get("node_type") in _CONTAINERS or not (usage or process.get("model_name")):
            return
        node = _model_usage({**metadata, **{name: value for name, value in usage.items() if value is not None}})
        if data.get("status") != "succeeded" and not node.has_usage:  # a failed node need not report usage
            return
        node.provider, node.model = _name(process.get("model_provider")), _name(process.get("model_name"))
        key = (node.provider, node.model, node.currency, node.is_split)
        if len(self._nodes) >= _MAX_NODE_ENTRIES and key not in self._nodes:
            node.provider = node.model = None
            key = (None, None, node.currency, node.is_split)
        self._nodes[key] = _sum((self._nodes[key], node)) if key in self._nodes else node

    def set_message(self, usage: Mapping[str, Any], model: object = None) -> None:
        """Set the usage of the whole message. Dify uses OpenAI's names (`prompt_tokens` …)."""
        if any(usage.get(name) is not None for name in ("prompt_tokens", "completion_tokens", "total_tokens")):
            self._message = _model_usage(usage)
            self._message.model = _name(model)

    def set_workflow(self, total: object) -> None:
        self.is_workflow = True
        if total is not None:
            self._workflow = _model_usage({"total_tokens": total})

    @property
    def is_empty(self) -> bool:
        return not (self._nodes or self._message or self._workflow)

    def entries(self) -> tuple[UsageEntry, ...]:
        """One entry per model, in the order of their first node, then the rest without a model.

        A workflow without usage gets one entry with a total of 0 and no model, so that its usage is not missing.
        """
        entries = list(self._nodes.values())
        for whole in (self._message, self._workflow):
            if whole is None or (self.is_workflow and not whole.has_usage and not whole.is_inconsistent):
                continue
            if not entries or (rest := _difference(whole, _sum(entries))).has_usage:
                entries.append(rest if entries else whole)
        if self.is_workflow and not entries:
            entries.append(ModelUsage(unsplit=0))
        return tuple(usage.entry() for usage in entries)


def _model_usage(usage: Mapping[str, Any]) -> ModelUsage:
    values = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    input_, output, total = (token_count(value) for value in values)
    unsplit = TokenCounts(input_, output, total).split[2]
    is_inconsistent = any(value is not None and token_count(value) is None for value in values)
    if input_ is not None or output is not None:
        is_inconsistent = is_inconsistent or (total is not None and total < (input_ or 0) + (output or 0))
        unsplit = unsplit or None
    return ModelUsage(
        input=input_,
        output=output,
        unsplit=unsplit,
        price=money(usage.get("total_price")),
        currency=currency if is_currency(currency := usage.get("currency")) else None,
        is_inconsistent=is_inconsistent,
    )


def _sum(parts: Iterable[ModelUsage]) -> ModelUsage:
    """The sum of the known values; provider, model and currency are those of the last part that has them."""
    whole = ModelUsage()
    for part in parts:
        whole.provider, whole.model, whole.currency = part.provider, part.model, part.currency or whole.currency
        whole.is_inconsistent = whole.is_inconsistent or part.is_inconsistent
        for name in ("input", "output", "unsplit", "price"):
            if (more := getattr(part, name)) is not None:
                setattr(whole, name, more + (getattr(whole, name) or 0))
    return whole


def _difference(whole: ModelUsage, parts: ModelUsage) -> ModelUsage:
    """The whole minus its parts, without a model name; never negative."""
    price = None
    if whole.price is not None and parts.currency in (None, whole.currency):
        price = max(whole.price - (parts.price or 0), Decimal(0)) or None
    if whole.unsplit is not None or parts.unsplit:
        return ModelUsage(unsplit=max(whole.total - parts.total, 0), price=price, currency=whole.currency)
    return ModelUsage(
        input=max((whole.input or 0) - (parts.input or 0), 0),
        output=max((whole.output or 0) - (parts.output or 0), 0),
        price=price,
        currency=whole.currency,
    )


def _name(value: object) -> str | None:
    return value[:_MAX_NAME_LENGTH] if isinstance(value, str) and value else None
