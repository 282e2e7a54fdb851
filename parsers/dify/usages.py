"""Sum up the tokens and exact prices of many model calls by their labels, in columns.

A test checks that the sums are those of single calls.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import repeat
from math import fsum
from operator import add
from typing import Any, NamedTuple

import msgspec

from parsers.batch import LONG_PROMPT, Record, Usage, UsageMissing
from parsers.dify.labels import app_ids_of, name_of, names_of
from parsers.dify.telemetry import NO_PRICE, CountRule
from parsers.dify.tokens import TokenCounts
from parsers.dropped import dropped, dropped_values
from parsers.values.currencies import currency_of
from parsers.values.numbers import MAX_PRICE, PRICE_DECIMALS, decode_numbers, money

#: Beyond this number of keys, a part of a block may be diverse.
_MANY_KEYS = 256
#: A price of at most this length has at most 12 decimals, and a float represents all its digits.
_MAX_LENGTH = len("0.123456789012")

#: Decodes a JSON array of numbers exactly.
_decode_decimals = msgspec.json.Decoder(list[Decimal]).decode

#: Gives the label of each value of a column.
LabelsOf = Callable[[Collection[Any]], Iterable[str]]

#: The fields of a call behind its owner in the key of its sums.
KEY_FIELDS = ("provider", "model", "currency", "cost_currency")


class CallColumns(NamedTuple):
    """One entry per call in each column.

    If only totals are known, `is_split` is False and the column of input tokens contains them. The costs are all None,
    or those of `costs_of`.
    """

    costs: Sequence[Any]
    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    is_split: bool = True


class UsageSums:
    """Tokens and money by the labels of their calls. With `strict` the calls come from a block: their types are known.

    The key of a call is its owner (an app id), with the call's KEY_FIELDS. `owners_of` gives the labels of owners.
    """

    def __init__(self, strict: bool, owners_of: LabelsOf = app_ids_of) -> None:
        self._strict, self._owners_of = strict, owners_of
        #: [input tokens, output tokens, prices] by key; these sums by time and kind of amounts.
        self._sums: defaultdict[tuple[Any, ...], dict[Any, list[Any]]] = defaultdict(dict)
        self._records: list[Record] = []

    def add(self, keys: Sequence[Any], calls: Sequence[Any], at: int | None, rule: CountRule) -> None:
        """Add the calls in columns; if that is impossible, split them by known amounts; else add each call alone."""
        if self._strict and (columns := _columns(calls)):
            self._add_columns(keys, columns, at)
            return
        pairs = list(zip(keys, calls, strict=True))
        parts = list(grouped(pairs, _known_amounts)) if self._strict else [(None, pairs)]
        if len(parts) > 1:
            for _, part in parts:
                some_keys, some_calls = zip(*part, strict=True)
                self.add(some_keys, some_calls, at, rule)
            return
        for key, call in pairs:
            self._records += self._records_of(next(iter(self._owners_of(key[:1]))), call, at, rule)

    def _add_columns(self, keys: Sequence[Any], calls: CallColumns, at: int | None) -> None:
        if is_diverse(keys):
            self._records += _usages(keys, calls, repeat(1), at, self._owners_of)
            return
        sums = self._sums[at, calls.is_split, type(calls.costs[0])]
        for key, input_tokens, output_tokens, cost in zip(
            keys, calls.input_tokens, calls.output_tokens, calls.costs, strict=True
        ):
            if (usage := sums.get(key)) is None:
                sums[key] = [input_tokens, output_tokens, [cost]]
                continue
            usage[0] += input_tokens
            usage[1] += output_tokens
            usage[2].append(cost)

    @staticmethod
    def _records_of(owner: str, call: Any, at: int | None, rule: CountRule) -> Iterator[Record]:
        found, price = TokenCounts(call.input_tokens, call.output_tokens, call.total_tokens), _price_of(call)
        tokens, cost = found.split, money(price)
        yield from (*dropped_values("tokens", found.invalid), *dropped("price", price, cost))
        if any(tokens) or cost:
            model = name_of(call.provider), name_of(call.model)
            currency = currency_of(call.currency or call.cost_currency or call.usage_currency or call.usage.currency)
            is_call = rule.is_call and cost is None and (tokens[0] or 0) > LONG_PROMPT  # it matters only then
            yield Usage(owner, *model, *tokens, cost, currency, at, is_call=is_call)
        if rule.needs_usage and (reason := found.missing):
            yield UsageMissing(owner, reason)

    def records(self) -> list[Record]:
        found: list[Record] = []
        for (at, is_split, _), sums in self._sums.items():
            inputs, outputs, costs = zip(*sums.values(), strict=True)
            calls = CallColumns(list(map(total, costs)), inputs, outputs, is_split)
            found += _usages(sums.keys(), calls, map(len, costs), at, self._owners_of)
        return found + self._records


def _usages(
    keys: Collection[Any], calls: CallColumns, counts: Iterable[int], at: int | None, owners_of: LabelsOf
) -> Iterator[Usage]:
    """Return a record for each entry of the columns. `counts` are the numbers of calls."""
    owners, providers, models, currencies, cost_currencies = zip(*keys, strict=True)
    codes = [code or cost_code for code, cost_code in zip(currencies, cost_currencies, strict=True)]
    labels = {code: currency_of(code) for code in set(codes)}
    unknown = repeat(None)
    return map(
        Usage,
        owners_of(owners),
        names_of(providers),
        names_of(models),
        calls.input_tokens if calls.is_split else unknown,
        calls.output_tokens if calls.is_split else unknown,
        unknown if calls.is_split else calls.input_tokens,
        _decimals(calls.costs),
        map(labels.__getitem__, codes),
        repeat(at),
        counts,
    )


def _known_amounts(pair: tuple[Any, Any]) -> tuple[bool, ...]:
    """Return which amounts of a call are known, and whether its prompt is long; its key is not looked at."""
    call = pair[1]
    return (
        not call.input_tokens,
        not call.output_tokens,
        not call.total_tokens,
        call.price is None,
        call.usage == NO_PRICE,
        (call.input_tokens or call.total_tokens or 0) > LONG_PROMPT,
    )


def _price_of(call: Any) -> Any:
    """Return the first known price of a call: its own, then those of `dify.usage`."""
    prices = call.price, call.usage_price, call.usage.price
    return next((price for price in prices if price is not None), None)


def _columns(calls: Sequence[Any]) -> CallColumns | None:
    """Return the columns of calls; None if a call cannot be added to the others."""
    prices = [call.price for call in calls]
    if [call.usage for call in calls].count(NO_PRICE) < len(calls):
        if not all(call.currency or call.cost_currency for call in calls):  # each usage may name another
            return None
        prices = list(map(_price_of, calls))
    costs = prices if prices.count(None) == len(prices) else costs_of(prices)
    try:
        columns = None if costs is None else _with_tokens(calls, costs)
    except TypeError:  # only some counts are known
        return None
    is_long = columns is not None and columns.costs[0] is None and max(columns.input_tokens) > LONG_PROMPT
    return None if is_long else columns


def _with_tokens(calls: Sequence[Any], costs: Sequence[Any]) -> CallColumns | None:
    """Return the columns in the usual case: nothing to split, and nothing missing (tokens.py).

    Raises TypeError if only some of the counts are known.
    """
    inputs, outputs = [call.input_tokens for call in calls], [call.output_tokens for call in calls]
    totals, count = [call.total_tokens for call in calls], len(calls)
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


def _decimals(costs: Sequence[Any]) -> Sequence[Decimal | None]:
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


def is_diverse(keys: Sequence[Any]) -> bool:
    """Return whether keys are many and most of them occur once. Then a record for each event costs less than to sum
    them up. A few keys are summed up, because they occur again in the next part of the block.
    """
    return len(keys) > _MANY_KEYS and len(set(keys)) > max(_MANY_KEYS, len(keys) // 2)


def grouped(values: Sequence[Any], key: Callable[[Any], Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    keys = list(map(key, values))
    if keys.count(keys[0]) == len(keys):
        yield keys[0], values
        return
    groups = defaultdict[Any, list[Any]](list)
    for each, value in zip(keys, values, strict=True):
        groups[each].append(value)
    yield from groups.items()
