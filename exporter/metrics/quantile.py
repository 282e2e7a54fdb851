"""Quantiles of a histogram."""


def quantile(q: float, bounds: tuple[float, ...], counts: list[int]) -> float | None:
    """As PromQL's histogram_quantile: linear within a bucket, the last bound above all. Seconds; None without data.

    `counts` are per bucket, the last one above all bounds.
    """
    rank, below = q * sum(counts), 0
    if not sum(counts):
        return None
    for lower, upper, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count if count else upper
        below += count
    return bounds[-1]
