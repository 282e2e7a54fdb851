"""The price list: the cost of tokens if the log reports no price."""

import re
from collections.abc import Set
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from typing import Annotated

from msgspec import Meta, Struct, field, structs

from exporter.ledger.money import Amount, amount, currency
from parsers.batch import LONG_PROMPT, UNKNOWN, Usage
from parsers.values.numbers import MAX_COUNT, SECOND, money

_MILLION = 1_000_000
_QUARTERS = re.compile(r"(?:[01][0-9]|2[0-3]):(?:00|15|30|45)")


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """The price per million tokens of a call with more than `above` input tokens. It applies to all its tokens."""

    above: Annotated[int, Meta(ge=LONG_PROMPT, le=MAX_COUNT, examples=[200_000])]
    input: Annotated[Amount, Meta(examples=["4.00"])]
    output: Annotated[Amount, Meta(examples=["12.00"])]

    def __post_init__(self) -> None:
        amount("input", self.input, zero=True)
        amount("output", self.output, zero=True)


class Hours(Struct, frozen=True, forbid_unknown_fields=True):
    """The price per million tokens during some hours of each day: from `begin` until just before `end`, in UTC.

    Tokens are summed per quarter of an hour, so `begin` and `end` are at full quarters.
    """

    begin: Annotated[str, Meta(examples=["01:00"])] = field(name="from")
    end: Annotated[str, Meta(examples=["04:00"])] = field(name="to")
    input: Annotated[Amount, Meta(examples=["1.32"])]
    output: Annotated[Amount, Meta(examples=["3.96"])]

    def __post_init__(self) -> None:
        for name, text in (("from", self.begin), ("to", self.end)):
            if not _QUARTERS.fullmatch(text):
                raise ValueError(f'{name} must be a quarter of an hour in UTC such as "01:00", found "{text}"')
        if self.begin == self.end:
            raise ValueError(f'from and to are the same time "{self.begin}"')
        amount("input", self.input, zero=True)
        amount("output", self.output, zero=True)

    def __str__(self) -> str:
        return f"{self.begin}-{self.end}"

    def include(self, time: str) -> bool:
        """Whether a time such as `01:15` is in these hours, which may include midnight."""
        if self.begin < self.end:
            return self.begin <= time < self.end
        return time >= self.begin or time < self.end


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[price]]`: the price per million input and output tokens, valid from midnight UTC of the day `since`.

    `tiers` replace it for calls with long prompts, and `hours` at some hours of the day.
    """

    model: Annotated[str, Meta(examples=["gpt-4.1"])]
    input: Annotated[Amount, Meta(examples=["2.00"])]
    output: Annotated[Amount, Meta(examples=["8.00"])]
    currency: Annotated[str, Meta(examples=["USD"])]
    provider: str = ""
    since: date = field(default=date.min, name="from")
    tiers: tuple[Tier, ...] = ()
    hours: tuple[Hours, ...] = ()

    def __post_init__(self) -> None:
        amount("input", self.input, zero=True)
        amount("output", self.output, zero=True)
        currency("currency must be", self.currency)
        if self.model in ("", UNKNOWN):
            raise ValueError(f'model must be a model\'s name such as "gpt-4.1", found "{self.model}"')
        limits = [tier.above for tier in self.tiers]
        if sorted(set(limits)) != limits:
            raise ValueError(f"tiers must have increasing values of above, found {limits}")
        if self.tiers and self.hours:
            raise ValueError("a price has tiers or hours, not both")
        for one, other in combinations(self.hours, 2):
            if one.include(other.begin) or other.include(one.begin):
                raise ValueError(f"hours {one} and {other} overlap, expected one price at each time")

    def at(self, moment: datetime) -> "Price":
        """This price at a moment in UTC: with the amounts of the hours that include it, if there are any."""
        time = f"{moment:%H:%M}"
        now = next((each for each in self.hours if each.include(time)), None)
        return self if now is None else structs.replace(self, input=now.input, output=now.output, hours=())

    def cost(self, usage: Usage) -> Decimal | None:
        """The cost of a usage in `currency`; None if the token counts do not determine it.

        Unsplit tokens have a cost only if input and output have the same price. A missing count matters only if its
        price is above 0. A usage of several calls has a cost only if none of them can have a long prompt.
        """
        if (tier := self._tier(usage)) is None:
            return None
        by_input, by_output = Decimal(str(tier.input)), Decimal(str(tier.output))
        if usage.unsplit_tokens is None:
            decided = all(
                count is not None or not price
                for count, price in ((usage.input_tokens, by_input), (usage.output_tokens, by_output))
            )
        else:
            decided = by_input == by_output
        if not decided:
            return None
        inputs = (usage.input_tokens or 0) + (usage.unsplit_tokens or 0)
        return money((by_input * inputs + by_output * (usage.output_tokens or 0)) / _MILLION)

    def _tier(self, usage: Usage) -> "Price | Tier | None":
        """The prices that apply to a usage; None if they depend on prompts of unknown length."""
        prompt = usage.input_tokens or 0
        most = prompt + (usage.unsplit_tokens or 0)
        if usage.count > 1 or not self.tiers or most <= self.tiers[0].above:
            return self
        if not usage.is_call or not prompt:
            return None
        return next((tier for tier in reversed(self.tiers) if prompt > tier.above), self)

    def priced(self, usage: Usage) -> tuple[Decimal | None, int]:
        """The cost of a usage, and the number of its tokens that this cost does not include.

        These are the unsplit tokens if only input and output tokens have a cost, and all tokens if none have.
        """
        if (whole := self.cost(usage)) is not None:
            return whole, 0
        unsplit = usage.unsplit_tokens or 0
        if (part := self.cost(structs.replace(usage, unsplit_tokens=None))) is not None:
            return part, unsplit
        return None, (usage.input_tokens or 0) + (usage.output_tokens or 0) + unsplit


class Prices:
    """Finds the price of a usage: same model, same provider if the price names one, and the newest that is valid."""

    def __init__(self, prices: tuple[Price, ...] = ()) -> None:
        self._by_model: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda p: (bool(p.provider), p.since), reverse=True):
            self._by_model.setdefault(price.model, []).append(price)

    def known(self, models: Set[str]) -> set[str]:
        return {model for model in self._by_model if model in models}

    def find(self, usage: Usage, at: int) -> Price | None:
        """The price at the time `at` (nanoseconds since the epoch); None if the list has none."""
        candidates = self._by_model.get(usage.model)
        if not candidates:
            return None
        moment = datetime.fromtimestamp(at // SECOND, UTC)
        fitting = (p for p in candidates if p.since <= moment.date() and same_provider(p.provider, usage.provider))
        found = next(fitting, None)
        return found.at(moment) if found is not None and found.hours else found


def same_provider(wanted: str, found: str) -> bool:
    """Whether `wanted` means the provider `found`: Dify writes `langgenius/openai/openai` for openai.

    An empty `wanted` means every provider.
    """
    return wanted in ("", found, found.rpartition("/")[2])
