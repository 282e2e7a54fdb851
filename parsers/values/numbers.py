"""Numbers from untrusted text and JSON: whole nanoseconds, token counts and money, or None."""

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import msgspec

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000
NANOSECOND = 1

#: Nothing here runs for a third of a year; a larger number is a broken field, not a duration.
_LONGEST = 10_000_000 * SECOND
_decode_numbers = msgspec.json.Decoder(list[float]).decode
_MOST_TOKENS = 10**12
_MOST_MONEY = Decimal(10**12)
_LEAST_MONEY = Decimal("1e-12")


def nanoseconds(value: object, unit: int = SECOND) -> int | None:
    """A duration in nanoseconds from a JSON number, or from text that a pattern has found to be digits.

    None for anything negative, not finite, boolean or absurd (over 10^7 seconds).
    """
    if isinstance(value, bool) or not isinstance(value, int | float | bytes | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not 0 <= number <= _LONGEST / unit:  # False for NaN
        return None
    return round(number * unit)


def many_nanoseconds(texts: Sequence[bytes], unit: int) -> list[int]:
    """Durations in nanoseconds, of texts that a pattern has found to be plain decimals far below 10^7 seconds."""
    try:
        numbers = _decode_numbers(b"[%b]" % b",".join(texts))
    except msgspec.DecodeError:  # a leading zero, which is no JSON
        numbers = [float(text) for text in texts]
    return [round(number * unit) for number in numbers]


def token_count(value: object) -> int | None:
    """A whole number from 0 to 10^12, None for anything else; 12.0 is 12, as some serialisers print it."""
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_TOKENS:
        return None
    return value


def money(value: object) -> Decimal | None:
    """An amount from a JSON number or a decimal string ("0.0012890", "5E-7"), None if it is no price.

    Kept to 10^-12 of a unit, so that a sum of many stays within Decimal's 28 digits and knows no order.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
        return amount.quantize(_LEAST_MONEY) if 0 <= amount <= _MOST_MONEY else None
    except (InvalidOperation, ValueError):  # no number, NaN; an integer of 5,000 digits
        return None
