"""The price list: what tokens cost where the log reports no price."""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from msgspec import Struct, field

from parsers.batch import UNKNOWN, Usage

_MILLION = 1_000_000
_NANOSECONDS = 1_000_000_000


class Price(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One `[[price]]`: `input` and `output` cost so much per million tokens, from midnight UTC of `since` on."""

    model: str
    input: str
    output: str
    currency: str
    provider: str = ""
    since: date = field(default=date.min, name="from")

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            self._amount(name)

    def _amount(self, name: str) -> Decimal:
        text = getattr(self, name)
        try:
            amount = Decimal(text)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            raise ValueError(f'{name} must be a price per million tokens such as "2.00", found "{text}"')
        return amount

    def cost(self, usage: Usage) -> Decimal:
        """What a usage with separate input and output tokens costs, in `currency`."""
        total = self._amount("input") * (usage.input_tokens or 0) + self._amount("output") * (usage.output_tokens or 0)
        return total / _MILLION


class Prices:
    """Finds the price of a usage: same model, same provider where the list names one, newest that is valid.

    Dify writes `langgenius/openai/openai` where people say openai: the last part counts too.
    """

    def __init__(self, prices: tuple[Price, ...] = ()) -> None:
        self._by_model: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda p: (bool(p.provider), p.since), reverse=True):
            self._by_model.setdefault(price.model, []).append(price)

    def find(self, usage: Usage) -> Price | None:
        """None where the list has no price, or where input and output tokens are not told apart."""
        candidates = self._by_model.get(usage.model)
        if not candidates or usage.model == UNKNOWN or usage.input_tokens is None or usage.output_tokens is None:
            return None
        day = date.max if usage.at is None else datetime.fromtimestamp(usage.at / _NANOSECONDS, UTC).date()
        for price in candidates:
            if price.since <= day and price.provider in (
                "",
                usage.provider,
                usage.provider.rpartition("/")[2],
            ):
                return price
        return None
