"""Formats numbers for people."""

from decimal import Decimal


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.1 or not value else f"{value:.3f}"


def share(part: float, whole: float) -> str:
    if not part:
        return "0 %"
    percent = 100 * part / whole
    return f"{percent:,.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"


def amount(value: float | Decimal, unit: str) -> str:
    """Tokens as an integer; money with two decimals, or with more if it is less than 1."""
    if unit == "tokens":
        return f"{value:,.0f}"
    if value >= 1 or not value:
        return f"{value:,.2f}"
    return f"{value:.4f}" if value >= 0.001 else f"{value:.2g}"


def age(duration: float) -> str:
    """A duration in seconds, in its two largest units. A negative one is "0 s": the clock of a log may be ahead."""
    total = max(0, round(duration))
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if total >= size:
            rest = total % size // part
            return f"{total // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{total} s"


def size(value: int) -> str:
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.0f} GiB" if amount >= 10 else f"{amount:.1f} GiB"
