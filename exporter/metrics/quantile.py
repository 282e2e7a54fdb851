"""Quantiles of durations for people. They come from exponential buckets and are within 5 % of exact, as printed."""

from collections.abc import Iterable, Mapping

from exporter.ledger import exponential
from exporter.ledger.histogram import Histogram, Layout


def merged(layout: Layout, histograms: Iterable[Histogram]) -> dict[int, int]:
    """The sum of histograms of one layout, by exponential bucket."""
    sums: dict[int, int] = {}
    for histogram in histograms:
        exponential.merge(sums, layout.counted(histogram))
    return sums


def quantiles(counts: Mapping[int, int]) -> dict[str, float]:
    """p50, p95 and p99 in seconds of the counts by exponential bucket; empty without data."""
    named = {f"p{q}": exponential.quantile(q / 100, counts) for q in (50, 95, 99)}
    return {name: value for name, value in named.items() if value is not None}


def approximate(seconds: float) -> str:
    """An estimated duration with three significant digits, in milliseconds if it is below one second."""
    value, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    digits = 0 if not value or value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"≈ {value:,.{digits}f} {unit}"
