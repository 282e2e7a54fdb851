"""Quantiles of a classic histogram."""


def quantile(q: float, bounds: tuple[float, ...], counts: list[int]) -> float | None:
    """Estimate a quantile as PromQL's histogram_quantile does. Returns seconds, or None without data.

    Inside a bucket the estimate is linear; above all bounds it is the last bound. `counts` has one number per bucket
    and one more for the values above all bounds.
    """
    rank, below = q * sum(counts), 0
    if not sum(counts):
        return None
    for lower, upper, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count if count else upper
        below += count
    return bounds[-1]
