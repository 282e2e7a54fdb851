"""Parse numbers from untrusted text and JSON: whole nanoseconds, token counts and money; None for anything else."""

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

#: Units of time, in nanoseconds.
SECOND = 1_000_000_000
#: Times in the same quarter of an hour lie on the same day in every time zone, and have the same prices.
QUARTER = 900 * SECOND
MILLISECOND = 1_000_000
MICROSECOND = 1_000
NANOSECOND = 1

#: The largest duration in seconds, a third of a year. A larger number is a broken field.
MAX_SECONDS = 10_000_000
#: The largest count of tokens or bytes, and the largest price in units of its currency.
MAX_COUNT = 10**12
MAX_PRICE = 10**12
#: Prices are rounded to 10^-12 of a unit of their currency.
PRICE_DECIMALS = 12
_PRICE_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)

#: Decodes a JSON array of numbers. Raises msgspec.DecodeError.
decode_numbers = msgspec.json.Decoder(list[float]).decode
#: Decodes a JSON array of numbers that are whole, such as 12.345e6. Raises msgspec.DecodeError.
_decode_integers = msgspec.json.Decoder(list[int], strict=False).decode
#: The power of ten of each unit of time. `12.345e6` is 12.345 milliseconds in nanoseconds.
_EXPONENTS = {SECOND: 9, MILLISECOND: 6, MICROSECOND: 3, NANOSECOND: 0}


def nanoseconds(value: object, unit: int = SECOND) -> int | None:
    """Return a duration in nanoseconds from a JSON number, or from text that a pattern has already checked.

    `unit` is the unit of the value, in nanoseconds. The result is None for a value that is negative, not finite, a
    boolean, or more than MAX_SECONDS.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | bytes | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not 0 <= number <= MAX_SECONDS * SECOND / unit:  # False for NaN
        return None
    return round(number * unit)


def seconds(value: Any) -> float | None:
    """Return a duration in seconds from a JSON number, None for a value that `nanoseconds` does not accept."""
    return None if nanoseconds(value) is None else float(value)


def many_nanoseconds(texts: Sequence[bytes], unit: int) -> list[int]:
    """Return durations in nanoseconds. A pattern has already checked that the texts are plain decimals, far below
    MAX_SECONDS. `unit` is their unit, in nanoseconds: a power of ten.
    """
    exponent = b"e%d" % _EXPONENTS[unit]
    try:
        return _decode_integers(b"[%b%b]" % ((exponent + b",").join(texts), exponent)) if texts else []
    except msgspec.DecodeError:  # a leading zero, which JSON does not allow, or a fraction of a nanosecond
        return [round(float(text) * unit) for text in texts]


def token_count(value: object) -> int | None:
    """Return a whole number from 0 to MAX_COUNT, None for anything else. 12.0 is 12, as some serialisers print it."""
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        return None
    return value


def money(value: object) -> Decimal | None:
    """Return a price from a JSON number or a decimal string ("0.0012890", "5E-7"), None for anything else.

    The price is rounded to PRICE_DECIMALS, so that sums stay within the 28 digits of Decimal: they are then exact and
    independent of their order.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
        return amount.quantize(_PRICE_STEP) if 0 <= amount <= MAX_PRICE else None
    except (InvalidOperation, ValueError):  # not a number, NaN; an integer of 5,000 digits
        return None
