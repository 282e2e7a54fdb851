"""A book: the numbers of one source in one span of event time, in the tables of the history."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from exporter.ledger import exponential
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.series import Labels, Limits, cleaned, folded, is_clean
from parsers.batch import OTHER

#: The tables of a book, with their label names. LINES counts all lines, UNPARSED those that were not understood,
#: BEHIND those whose time is far behind the lines around them, and DROPPED_TIMES the times that were not understood.
LINES, UNPARSED, BEHIND, DROPPED_TIMES = "lines", "unparsed", "behind", "dropped_times"
REQUESTS, FAILED_REQUESTS, RUNS, ERRORS = "requests", "failed_requests", "runs", "errors"
TOKENS, COST, UNPRICED_TOKENS = "tokens", "cost", "unpriced_tokens"
DURATIONS, FIRST_TOKENS = "durations", "first_tokens"
TABLES: Mapping[str, tuple[str, ...]] = {
    LINES: (),
    UNPARSED: (),
    BEHIND: (),
    DROPPED_TIMES: (),
    REQUESTS: ("route", "status_class"),
    FAILED_REQUESTS: ("route", "reason"),
    RUNS: ("kind", "app_id", "status"),
    ERRORS: ("kind",),
    TOKENS: ("app_id", "provider", "model", "token_type"),
    COST: ("app_id", "provider", "model", "currency"),
    UNPRICED_TOKENS: ("app_id", "provider", "model"),
    DURATIONS: ("route", "status_class"),
    FIRST_TOKENS: ("app_id", "model"),
}

#: The time zone, the day (ISO 8601, or NO_DAY) and the source of a book.
BookKey = tuple[str, str, str]

#: A number, or the counts of durations by exponential bucket.
Entry = int | Decimal | dict[int, int]

#: The entries of a book by the name of the table and its labels.
Entries = Mapping[Labels, Entry]


class Book(ChangeTracker[Labels, Entry]):
    """The numbers of one source in one span of time. Each table has as many label sets as a metric may have series."""

    __slots__ = ("_limits", "_sizes")

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits
        self._sizes: Counter[str] = Counter()

    def restore(self, entries: Entries) -> None:
        self.enter(entries)
        self._sizes = Counter(labels[0] for labels in self)

    def add(self, labels: Labels, entry: Entry) -> None:
        """Add to a number or a histogram. The first label is the name of the table.

        An empty label is one that became `other`.
        """
        if labels not in self:
            is_histogram = isinstance(entry, dict)
            labels = self._admit(
                labels, self._limits.series_per_histogram if is_histogram else self._limits.series_per_counter
            )
        self[labels] = sum_of(self.get(labels), entry)

    def _admit(self, labels: Labels, cap: int) -> Labels:
        """The label set under which a number counts: cleaned, and folded if the table is full."""
        name, length = labels[0], self._limits.label_length
        if not is_clean(labels, length):
            labels = (name, *cleaned(tuple([value or OTHER for value in labels[1:]]), length))
        if labels not in self and self._sizes[name] >= cap:
            labels = (name, *folded(TABLES[name], labels[1:]))
        if labels not in self:
            self._sizes[name] += 1
        return labels


def sum_of(before: Entry | None, more: Entry) -> Entry:
    """The sum of two numbers or of two histograms; `more` if there is nothing before."""
    if before is None:
        return more
    if isinstance(before, dict) and isinstance(more, dict):
        counts = before.copy()
        exponential.merge(counts, more)
        return counts
    assert not isinstance(before, dict)
    assert not isinstance(more, dict)
    return before + more
