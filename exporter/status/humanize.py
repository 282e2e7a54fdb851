"""Numbers as text for a person."""

from decimal import Decimal


def rate(value: float) -> str:
    """Per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.1 or not value else f"{value:.3f}"


def share(part: float, whole: float) -> str:
    """In percent."""
    if not part:
        return "0 %"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"


def seconds(value: float) -> str:
    """A duration in seconds; below one in milliseconds."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def amount(of: float | Decimal, unit: str) -> str:
    """Tokens, or money to the cent; less than one unit of money with the digits that matter."""
    return (
        f"{of:,.0f}"
        if unit == "tokens"
        else f"{of:,.2f}"
        if of >= 1 or not of
        else f"{of:.4f}"
        if of >= 0.001
        else f"{of:.2g}"
    )


def age(duration: float) -> str:
    """A duration in seconds, in its two largest units. Never negative, because logs may be ahead of our clock."""
    left = max(0, round(duration))
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            rest = left % size // part
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left} s"


def size(of: int) -> str:
    """Bytes, in binary units."""
    amount = float(of)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""
