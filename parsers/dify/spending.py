"""What many model calls used in all: sums of tokens and exact money, told only where each call by itself, read the
plain way, would say the same.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from math import fsum
from operator import add, gt
from typing import Any

import msgspec
from msgspec import Struct, field

from parsers.numbers import money

Count = int | None
Price = str | float | None

_decode_numbers = msgspec.json.Decoder(list[float]).decode


class Priced(Struct, frozen=True, gc=False):
    """Generation C's `dify.usage`, as far as it counts."""

    price: Price = field(default=None, name="total_price")
    currency: str | None = None


UNPRICED = Priced()


def used(
    currency: str | None,
    given: Sequence[Count],
    produced: Sequence[Count],
    totals: Sequence[Count],
    prices: Sequence[Price],
    usages: Sequence[Priced],
) -> dict[str, Any] | None:
    """The amounts of a Usage, from columns with an entry a call; UNPRICED is an entry of `usages` that is not there,
    `currency` the one that all calls tell outside of it.

    Empty where no call tells anything, None where the calls cannot be added up.
    """
    count = len(prices)
    if usages.count(UNPRICED) < count:
        if not currency:  # each usage may tell another
            return None
        if prices.count(None) == count:
            prices = [usage.price for usage in usages]
    try:
        tokens = _tokens(given, produced, totals)
        if prices.count(None) == count or not tokens:
            return tokens if prices.count(None) == count else None
        cost = cost_of(prices)
    except (TypeError, InvalidOperation):  # something is told by some of the calls only; a price that is none
        return None
    return None if cost is None else {**tokens, "cost": cost}


def _tokens(given: Sequence[Any], produced: Sequence[Any], totals: Sequence[Any]) -> dict[str, int] | None:
    """The same of tokens alone. Raises TypeError where only some are told."""
    count = len(totals)
    if given.count(None) == produced.count(None) == count:
        if totals.count(None) == count:
            return {}
        return None if 0 in totals else {"unsplit_tokens": sum(totals)}
    parts = tuple(map(add, given, produced))
    # Told everywhere, a total is nearly always the sum of its parts.
    if 0 in parts or (parts != totals and totals.count(None) < count and any(map(gt, parts, totals))):
        return None
    return {"input_tokens": sum(given), "output_tokens": sum(produced)}


def cost_of(prices: Sequence[Any]) -> Decimal | None:
    """The sum, None where one would have to be rounded or is not taken by `parsers.numbers.money`.

    Raises TypeError or InvalidOperation for what is no price.
    """
    texts = prices if set(map(type, prices)) == {str} else [str(price) for price in prices]
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
