"""What many model calls used: columns of tokens and exact prices, given only where each call by itself, read the plain
way, would say the same.
"""

from collections.abc import Sequence
from decimal import Decimal
from math import fsum
from operator import add
from typing import Any, NamedTuple

import msgspec

from parsers.dify.telemetry import UNPRICED
from parsers.values.numbers import money

#: A price that is no longer has at most 12 decimals, and so few digits that a float holds them all.
_LONGEST = len("0.123456789012")
_MOST = 10**12

_decode_numbers = msgspec.json.Decoder(list[float]).decode


class Calls(NamedTuple):
    """A column each, with an entry per call. Where only totals are known, `given` has them and nothing is `split`.
    Costs are all None, or as `costs_of` gives them.
    """

    costs: Sequence[Any]
    given: Sequence[int]
    produced: Sequence[int]
    split: bool = True


def price_of(event: Any) -> Any:
    """The first price that is known: the event's own, then those of `dify.usage`."""
    prices = event.price, event.usage_price, event.usage.price
    return next((price for price in prices if price is not None), None)


def calls_of(events: Sequence[Any]) -> Calls | None:
    """The columns of events; None where one cannot be added to the others, or to anything."""
    prices = [event.price for event in events]
    if [event.usage for event in events].count(UNPRICED) < len(events):
        if not all(event.currency or event.cost_currency for event in events):  # each usage may name another
            return None
        prices = list(map(price_of, events))
    costs = prices if prices.count(None) == len(prices) else costs_of(prices)
    try:
        return None if costs is None else _with_tokens(events, costs)
    except TypeError:  # only some are known
        return None


def _with_tokens(events: Sequence[Any], costs: Sequence[Any]) -> Calls | None:
    """The usual case alone, in which tokens.py splits and misses nothing. Raises TypeError where one of several counts
    is not known.
    """
    given, produced = [event.given for event in events], [event.produced for event in events]
    totals, count = [event.total for event in events], len(events)
    if given.count(None) == produced.count(None) == count:
        return Calls(costs, totals, [0] * count, split=False) if min(totals) > 0 else None
    parts = list(map(add, given, produced))
    # A total that is not the sum of its parts has tokens of its own, or is wrong.
    if 0 in parts or (parts != totals and totals.count(None) < count):
        return None
    return Calls(costs, given, produced)


def costs_of(prices: Sequence[Any]) -> Sequence[Any] | None:
    """Prices as floats or as Decimals, whose sum `total` tells exactly; None where one is no price."""
    texts = prices if set(map(type, prices)) == {str} else [str(price) for price in prices]
    joined = ",".join(texts)
    if max(map(len, texts)) <= _LONGEST and not ("e" in joined or "E" in joined or "-" in joined):
        try:
            numbers = _decode_numbers(f"[{joined}]")
        except msgspec.DecodeError:  # Decimal takes more than JSON
            numbers = []
        if len(numbers) == len(texts) and max(numbers) <= _MOST:
            return numbers
    amounts = [money(price) for price in prices]
    return None if None in amounts else amounts


def total(costs: Sequence[Any]) -> Decimal:
    """The exact sum of costs as `costs_of` gives them."""
    if isinstance(costs[0], Decimal):
        return sum(costs, Decimal())
    if len(costs) == 1:
        return Decimal(repr(costs[0]))
    # Below a thousand floats are off by less than a third of the twelfth decimal.
    nearly = fsum(costs)
    return (
        Decimal(round(nearly * 10**12)).scaleb(-12) if nearly < 1000 else sum(map(Decimal, map(repr, costs)), Decimal())
    )
