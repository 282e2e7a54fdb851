"""Amounts of money: exact, with their currency."""

from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation

from parsers.batch import OTHER, UNKNOWN
from parsers.values.currencies import currency_of

#: The currency that `[exchange]` rates are in.
ANCHOR = "USD"

#: Dify writes the yuan as RMB, its vendors' price lists as CNY.
_SYNONYMS = {"RMB": "CNY"}


def amount(name: str, value: object, *, zero: bool = False) -> Decimal:
    """The amount of a decimal string. Raises ValueError, naming what was found, for what is none."""
    least = "of at least 0" if zero else "above 0"
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or not (number or zero):
        raise ValueError(f'{name} must be a decimal string {least} such as "2.50", found {value!r}')
    if number and not -13 < number.adjusted() < 15:
        raise ValueError(f"{name} must lie between 10^-12 and 10^15, found {value!r}")
    return number


def currency(demand: str, value: str) -> str:
    """Raises ValueError, which begins with the demand ("currency must be"), for what is no currency."""
    if currency_of(value) in (OTHER, UNKNOWN):
        raise ValueError(f'{demand} a currency code such as "USD" or "RMB", found {value!r}')
    return value


class Exchange:
    """`[exchange]`: what one unit of each currency is worth in US dollars."""

    def __init__(self, rates: Mapping[str, Decimal] = {}) -> None:
        self._rates = {ANCHOR: Decimal(1), **{_canonical(code): rate for code, rate in rates.items()}}

    def convert(self, value: Decimal, code: str, into: str) -> Decimal | None:
        """The value in another currency; None where no rate is known."""
        code, into = _canonical(code), _canonical(into)
        if code == into:
            return value
        if code not in self._rates or into not in self._rates:
            return None
        return value * self._rates[code] / self._rates[into]


def same_currencies(codes: Collection[str]) -> list[tuple[str, str]]:
    """The currencies among these that are there under two names."""
    return [(name, canonical) for name, canonical in _SYNONYMS.items() if name in codes and canonical in codes]


def _canonical(code: str) -> str:
    return _SYNONYMS.get(code, code)
