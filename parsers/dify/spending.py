"""What many model calls used: columns of tokens and exact prices, given only where each call by itself, read the plain
way, would say the same.
"""

from collections.abc import Sequence
from decimal import Decimal
from math import fsum
from operator import add
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from parsers.values.numbers import money

Price = str | float | None

#: A price that is no longer has at most 12 decimals, and so few digits that a float tells them all.
_LONGEST = len("0.123456789012")
_MOST = 10**12

_decode_numbers = msgspec.json.Decoder(list[float]).decode


class Priced(Struct, frozen=True, gc=False):
    """Generation C's `dify.usage`, as far as it counts."""

    price: Price = field(default=None, name="total_price")
    currency: str | None = None


UNPRICED = Priced()


class Calls(NamedTuple):
    """A column each, with an entry a call. Where only totals are told, `given` has them and nothing is `split`; where
    nothing is told of tokens it is None. Costs are all None, or as `costs_of` gives them.
    """

    costs: Sequence[Any]
    given: Sequence[int] | None = None
    produced: Sequence[int] = ()
    split: bool = True


def calls_of(events: Sequence[Any]) -> Calls | None:
    """The columns of events; None where one cannot be added to the others, or to anything."""
    prices: list[Price] = [event.price for event in events]
    if [event.usage for event in events].count(UNPRICED) < len(events):
        if not all(event.currency or event.cost_currency for event in events):  # each usage may tell another
            return None
        if prices.count(None) == len(prices):
            prices = [event.usage.price for event in events]
    costs = prices if prices.count(None) == len(prices) else costs_of(prices)
    try:
        calls = None if costs is None else _with_tokens(events, costs)
    except TypeError:  # only some are told
        return None
    return calls if calls and (calls.given or calls.costs[0] is None) else None


def _with_tokens(events: Sequence[Any], costs: Sequence[Any]) -> Calls | None:
    """Raises TypeError where one of several counts is not told."""
    given, produced = [event.given for event in events], [event.produced for event in events]
    totals, count = [event.total for event in events], len(events)
    if given.count(None) == produced.count(None) == count:
        if totals.count(None) == count:
            return Calls(costs)
        return None if 0 in totals or None in totals else Calls(costs, totals, [0] * count, split=False)
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
    # Below a thousand floats are off by less than a third of the twelfth decimal.
    nearly = fsum(costs)
    return (
        Decimal(round(nearly * 10**12)).scaleb(-12) if nearly < 1000 else sum(map(Decimal, map(repr, costs)), Decimal())
    )
