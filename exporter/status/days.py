"""The last days, from the books of the history that are not in the archive yet."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import Struct

from exporter.ledger import book
from exporter.ledger.exponential import merge, quantile
from exporter.ledger.history import NO_DAY
from exporter.status.traffic import is_failure, is_served
from parsers.values.times import zone

_MAX_ROWS = 60


class DayRow(Struct, frozen=True):
    """A source on one day. `day` is a date in `timezone`, `cost` a list of currency and amount, `p95` in seconds.

    Requests and failures are counted as in `TrafficRow`.
    """

    day: str
    timezone: str
    source: str
    requests: int
    failed: int
    p95: float | None
    tokens: int
    cost: tuple[tuple[str, Decimal], ...]


def day_rows(books: Mapping[book.BookKey, book.Entries]) -> tuple[DayRow, ...]:
    """The days with requests or tokens, the newest first."""
    keys = sorted((day, timezone, source) for timezone, day, source in books if day != NO_DAY)
    rows = (
        _row(day, timezone, source, books[timezone, day, source])
        for day, timezone, source in sorted(keys, key=lambda key: key[0], reverse=True)
    )
    return tuple(row for row in rows if row.requests or row.tokens or row.cost)[:_MAX_ROWS]


def today_row(rows: Sequence[DayRow], now: float, timezone: str) -> DayRow | None:
    """The source with the most tokens today. `now` is in seconds since the epoch.

    Sources are not added up: several logs may report the same calls.
    """
    today = datetime.fromtimestamp(now, zone(timezone)).date().isoformat()
    rows = [row for row in rows if (row.day, row.timezone) == (today, timezone) and (row.tokens or row.cost)]
    return max(rows, key=lambda row: row.tokens, default=None)


def _row(day: str, timezone: str, source: str, entries: book.Entries) -> DayRow:
    requests = failed = tokens = 0
    cost: dict[str, Decimal] = {}
    durations: dict[int, int] = {}
    for (table, *values), amount in entries.items():
        if isinstance(amount, dict):
            if table == book.DURATIONS and is_served(values[0]):
                merge(durations, amount)
        elif table == book.REQUESTS and is_served(values[0]):
            requests += int(amount)
        elif table == book.FAILED_REQUESTS and is_failure(values[0], values[1]):
            failed += int(amount)
        elif table == book.TOKENS:
            tokens += int(amount)
        elif table == book.COST:
            currency = values[-1]
            cost[currency] = cost.get(currency, Decimal(0)) + amount
    return DayRow(
        day, timezone, source, requests, failed, quantile(0.95, durations), tokens, tuple(sorted(cost.items()))
    )
