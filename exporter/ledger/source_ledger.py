"""What the records of one source can change, and the time at which they count."""

from collections.abc import Callable

from msgspec import Struct, field

from exporter.ledger.budgets import Budgets
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.joins import Joins
from exporter.ledger.prices import Prices
from exporter.ledger.series import Series
from exporter.ledger.source_books import SourceBooks
from parsers.batch import Active
from parsers.values.numbers import SECOND


class SourceLedger(Struct):
    """Everything that the records of one source can change.

    `clock` returns the wall clock in seconds. `last_at` is the newest event time, and `usage_at` is the time at which
    a usage without a time counts; both are in nanoseconds, and 0 if none is known yet. `file` is the file generation
    of the batch that is being entered, "" in a replay. `has_telemetry` is True if telemetry reports the same runs as
    the worker's tasks. `books` are those of the history by day.
    """

    source: str
    series: Series
    prices: Prices
    budgets: Budgets
    clock: Callable[[], float]
    joins: Joins
    books: SourceBooks
    active: ChangeTracker[str, Active] = field(default_factory=ChangeTracker)
    last_at: int = 0
    file: str = ""
    has_telemetry: bool = False
    usage_at: int = 0


def event_time(ledger: SourceLedger, at: int | None) -> int:
    """The time of a line in nanoseconds, limited to the range from 1970 to now; now if the line has no time."""
    now = round(ledger.clock() * SECOND)
    return now if at is None else max(0, min(at, now))
