"""The model call of a node or message: which of the values that its item reports is the right one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from parsers.dify.labels import node_type_of
from parsers.tracing.content import Metadata, Usage, model_in, output_in, usage_of
from parsers.tracing.line import INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS
from parsers.tracing.values import count_of, name_of, price_of, seconds_of
from parsers.values.currencies import is_currency
from parsers.values.numbers import money

#: The nodes that call a model themselves; only of these the output is read.
MODEL_NODES = frozenset({"llm", "question-classifier", "parameter-extractor", "agent", "agent-v2"})

Counts = tuple[Any, Any, Any]
_NO_USAGE = Usage()


class ModelCall(NamedTuple):
    """The usage of a node or message as the item reports it: nothing of it is checked yet."""

    provider: Any = None
    model: Any = None
    tokens: Counts = (None, None, None)
    price: Any = None
    currency: Any = None
    first_token: Any = None

    def attributes(self, owner: str, is_required: bool = False) -> dict[str, Any]:
        """Return the attributes of the line of its owner (`node` or `message`); none for a call without usage, unless
        it `is_required`.
        """
        tokens, price = tuple(map(count_of, self.tokens)), price_of(self.price)
        has_price = price is not None and money(price) != 0
        if not (is_required or has_price or any(tokens)):
            return {}
        return {
            "gen_ai.provider.name": name_of(self.provider),
            "gen_ai.request.model": name_of(self.model),
            **dict(zip((INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS), tokens, strict=True)),
            f"dify.{owner}.total_price": price if has_price or any(tokens) else None,
            f"dify.{owner}.currency": self.currency if is_currency(self.currency) else None,
            "gen_ai.server.time_to_first_token": seconds_of(self.first_token),
        }


def call_of_node(attributes: Mapping[str, Any], metadata: Metadata, node_type: object) -> ModelCall:
    """Return the call of a node from its span. A node that calls a model also names it and its usage in its values."""
    if node_type_of(node_type) not in MODEL_NODES:
        return call_of_span(attributes, metadata)
    call = call_of_span(attributes, metadata, output_in(attributes.get("output.value")).model_usage)
    if call.model:
        return call
    named = model_in(attributes.get("input.value"))
    return call._replace(provider=call.provider or named.model_provider, model=named.model_name)


def call_of_span(attributes: Mapping[str, Any], metadata: Metadata, usage: Usage = _NO_USAGE) -> ModelCall:
    """Return the call that the attributes of a span, its metadata and the usage in its output report."""
    reported = usage_of(attributes.get("dify.usage"))
    provider = first(
        attributes.get("gen_ai.provider.name"), attributes.get("llm.provider"),
        metadata.model_provider, metadata.ls_provider,
    )  # fmt: skip
    model = first(
        attributes.get("gen_ai.request.model"), attributes.get("llm.model_name"),
        metadata.model_name, metadata.ls_model_name,
    )  # fmt: skip
    return ModelCall(
        provider,
        model,
        first_known(
            *_counts_in(attributes),
            *((each.prompt_tokens, each.completion_tokens, each.total_tokens) for each in (reported, usage, metadata)),
        ),
        first(metadata.total_price, reported.total_price, usage.total_price, attributes.get("llm.cost.total")),
        first(metadata.currency, reported.currency, usage.currency),
        first(reported.time_to_first_token, usage.time_to_first_token),
    )


def _counts_in(attributes: Mapping[str, Any]) -> tuple[Counts, Counts]:
    value = attributes.get
    return (
        (value(INPUT_TOKENS), value(OUTPUT_TOKENS), value(TOTAL_TOKENS)),
        (value("llm.token_count.prompt"), value("llm.token_count.completion"), value("llm.token_count.total")),
    )


def first_known(*triples: Counts) -> Counts:
    """Return the first token counts (input, output, total) that are more than zero, else the first known ones."""
    known = [triple for triple in triples if any(value is not None for value in triple)]
    return next((triple for triple in known if any(triple)), known[0] if known else (None, None, None))


def first(*values: Any) -> Any:
    """Return the first value that is neither missing nor an empty text."""
    return next((value for value in values if value is not None and value != ""), None)
