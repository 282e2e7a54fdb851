"""Why something failed: failed requests by reason, failed runs by status, and error records by kind.

The rows of a report count failures by the labels of its group. These counts are of the whole span, by source.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from exporter.ledger import book
from exporter.report.figures import FAILED
from exporter.report.gather import Dated


class Failures:
    """The failures of some books. `whole` has the requests and runs of each source, failed or not."""

    def __init__(self, books: Iterable[Dated]) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.whole: Counter[tuple[str, str]] = Counter()
        for each in books:
            for (table, *labels), amount in each.entries.items():
                if table in _FIGURES and not isinstance(amount, dict):
                    figure, reason = _FIGURES[table], labels[-1]
                    if table in (book.REQUESTS, book.RUNS):
                        self.whole[each.source, figure] += int(amount)
                    if table in (book.FAILED_REQUESTS, book.ERRORS) or (table == book.RUNS and reason in FAILED):
                        self.counts[each.source, figure, reason] += int(amount)

    def as_data(self, before: "Failures | None" = None) -> list[dict[str, Any]]:
        """One entry per source, figure and reason, the most frequent first. `before` are those of the span before.

        `share` is the part of all requests or runs of the source; error records have none.
        """
        keys = self.counts.keys() | (before.counts.keys() if before else set())
        return [
            {"source": source, "figure": figure, "reason": reason, "count": self.counts[source, figure, reason]}
            | (
                {"share": round(self.counts[source, figure, reason] / whole, 6)}
                if (whole := self.whole[source, figure])
                else {}
            )
            | ({"previous": before.counts[source, figure, reason]} if before else {})
            for source, figure, reason in sorted(
                keys, key=lambda key: (key[0], _ORDER.index(key[1]), -self.counts[key], key)
            )
        ]


_ORDER = ("failed_requests", "failed_runs", "errors")
_FIGURES: Mapping[str, str] = {
    book.REQUESTS: "failed_requests",
    book.FAILED_REQUESTS: "failed_requests",
    book.RUNS: "failed_runs",
    book.ERRORS: "errors",
}
