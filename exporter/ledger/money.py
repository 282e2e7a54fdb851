"""Amounts of money: exact, with their currency."""

from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated

from msgspec import Meta

from parsers.batch import OTHER, UNKNOWN
from parsers.values.currencies import currency_of

#: The currency that `[exchange]` rates are in.
ANCHOR = "USD"

#: Dify writes RMB, model vendors' price lists write CNY.
_SYNONYMS = {"RMB": "CNY"}


#: An amount in a configuration. A string is exact; a number is taken as it is written, up to its 15th digit.
Amount = Annotated[str, Meta(min_length=1)] | float


def amount(name: str, value: object, *, zero: bool = False) -> Decimal:
    """Parse a decimal string or a number. Raises ValueError, which names the value, if it is not an amount."""
    least = "of at least 0" if zero else "above 0"
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = Decimal(str(value)) if is_number or isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or not (number or zero):
        raise ValueError(f'{name} must be an amount {least} such as "2.50", found {value!r}')
    if number and not -13 < number.adjusted() < 15:
        raise ValueError(f"{name} must be between 10^-12 and 10^15, found {value!r}")
    return number


def currency(demand: str, value: str) -> str:
    """Check a currency code. The ValueError begins with `demand`, such as "currency must be"."""
    if currency_of(value) in (OTHER, UNKNOWN):
        raise ValueError(f'{demand} a currency code such as "USD" or "RMB", found {value!r}')
    return value


class Exchange:
    """`[exchange]`: the value of one unit of each currency in US dollars."""

    def __init__(self, rates: Mapping[str, Decimal] = {}) -> None:
        self._rates = {ANCHOR: Decimal(1), **{_canonical(code): rate for code, rate in rates.items()}}

    def convert(self, value: Decimal, code: str, into: str) -> Decimal | None:
        code, into = _canonical(code), _canonical(into)
        if code == into:
            return value
        if code not in self._rates or into not in self._rates:
            return None
        return value * self._rates[code] / self._rates[into]


def same_currencies(codes: Collection[str]) -> list[tuple[str, str]]:
    """The currencies that `codes` contains under both of their names."""
    return [(name, canonical) for name, canonical in _SYNONYMS.items() if name in codes and canonical in codes]


def _canonical(code: str) -> str:
    return _SYNONYMS.get(code, code)
