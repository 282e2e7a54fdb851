"""Sum up the usage of many model calls in columns of tokens and exact prices.

The functions return None where the reader of single calls would give another result.
"""

from collections.abc import Sequence
from decimal import Decimal
from math import fsum
from operator import add
from typing import Any, NamedTuple

import msgspec

from parsers.dify.telemetry import NO_PRICE
from parsers.values.numbers import MAX_PRICE, PRICE_DECIMALS, decode_numbers, money

#: A price of at most this length has at most 12 decimals, and a float represents all its digits.
_MAX_LENGTH = len("0.123456789012")

#: Decodes a JSON array of numbers exactly.
_decode_decimals = msgspec.json.Decoder(list[Decimal]).decode


class CallColumns(NamedTuple):
    """One entry per call in each column.

    If only totals are known, `is_split` is False and the column of input tokens contains them. The costs are all None,
    or those of `costs_of`.
    """

    costs: Sequence[Any]
    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    is_split: bool = True


def price_of(event: Any) -> Any:
    """Return the first known price of an event: its own, then those of `dify.usage`."""
    prices = event.price, event.usage_price, event.usage.price
    return next((price for price in prices if price is not None), None)


def columns_of_calls(events: Sequence[Any]) -> CallColumns | None:
    """Return the columns of events, or None if an event cannot be added to the others."""
    prices = [event.price for event in events]
    if [event.usage for event in events].count(NO_PRICE) < len(events):
        if not all(event.currency or event.cost_currency for event in events):  # each usage may name another
            return None
        prices = list(map(price_of, events))
    costs = prices if prices.count(None) == len(prices) else costs_of(prices)
    try:
        return None if costs is None else _with_tokens(events, costs)
    except TypeError:  # only some counts are known
        return None


def _with_tokens(events: Sequence[Any], costs: Sequence[Any]) -> CallColumns | None:
    """Return the columns in the usual case: nothing to split, and nothing missing (tokens.py).

    Raises TypeError if only some of the counts are known.
    """
    inputs, outputs = [event.input_tokens for event in events], [event.output_tokens for event in events]
    totals, count = [event.total_tokens for event in events], len(events)
    if inputs.count(None) == outputs.count(None) == count:
        return CallColumns(costs, totals, [0] * count, is_split=False) if min(totals) > 0 else None
    parts = list(map(add, inputs, outputs))
    # A total that is not the sum of its parts contains other tokens, or is wrong.
    if 0 in parts or (parts != totals and totals.count(None) < count):
        return None
    return CallColumns(costs, inputs, outputs)


def costs_of(prices: Sequence[Any]) -> Sequence[Any] | None:
    """Return prices as floats or as Decimals, which `total` can sum up exactly; None if one is not a price."""
    texts = prices if set(map(type, prices)) == {str} else [str(price) for price in prices]
    joined = ",".join(texts)
    if max(map(len, texts)) <= _MAX_LENGTH and not ("e" in joined or "E" in joined or "-" in joined):
        try:
            numbers = decode_numbers(f"[{joined}]")
        except msgspec.DecodeError:  # Decimal accepts texts that JSON does not
            numbers = []
        if len(numbers) == len(texts) and max(numbers) <= MAX_PRICE:
            return numbers
    amounts = [money(price) for price in prices]
    return None if None in amounts else amounts


def decimals(costs: Sequence[Any]) -> Sequence[Decimal | None]:
    """Return as Decimals the costs that `costs_of` or `total` returned."""
    return _decode_decimals(msgspec.json.encode(costs)) if isinstance(costs[0], float) else costs


def total(costs: Sequence[Any]) -> Decimal | None:
    """Return the exact sum of the costs that `costs_of` returned; None if they are not known."""
    if costs[0] is None:
        return None
    if isinstance(costs[0], Decimal):
        return sum(costs, Decimal())
    if len(costs) == 1:
        return Decimal(repr(costs[0]))
    # Below a thousand, the error of a float is less than a third of the twelfth decimal.
    approximate = fsum(costs)
    if approximate < 1000:
        return Decimal(round(approximate * 10**PRICE_DECIMALS)).scaleb(-PRICE_DECIMALS)
    return sum(map(Decimal, map(repr, costs)), Decimal())
