"""The history by day: what was counted on each day, so that a report can look back further than the counters.

A book holds the numbers of one source on one day of event time. The newest days are in the state, in the same commit as
the positions, so each line is in exactly one book. An older day is closed: it is written to the archive
(`exporter.persistence.archive`) and then leaves the state. A line of a closed day, and a line whose time is not
believed, count in the book `NO_DAY` of its source.

A day is closed when it is not among the newest days of its source, and older than all files that are being read. So a
source that catches up with several old logs at once fills whole days.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Annotated

from msgspec import Meta, Struct

from exporter.ledger.book import Book, BookKey, Entries, Entry
from exporter.ledger.calendar import Spans, Unit
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.reached_times import ReachedTimes
from exporter.ledger.series import Labels, Limits
from parsers.values.numbers import SECOND
from parsers.values.times import zone

#: The newest days of a source that stay in the state.
NEWEST_DAYS = 8

#: The name, also in the state, of the book of lines that count in no day: those of a closed day, and those whose time
#: is not believed.
NO_DAY = "late"

#: No event of Dify is older than 2000-01-01. A clock that was not set yet says 1970.
_OLDEST = 946_684_800 * SECOND

#: A time that is further ahead of the clock is not believed: days in the future would push the real ones out.
_MAX_AHEAD = 86_400 * SECOND


class HistoryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[history]`: the time zone whose midnight ends a day, and the number of days to keep; 0 keeps none."""

    timezone: str = "UTC"
    days: Annotated[int, Meta(ge=0)] = 400

    def __post_init__(self) -> None:
        zone(self.timezone)


class History:
    """The books of all sources. Not thread-safe: the ledger locks. `clock` returns the wall clock in seconds."""

    def __init__(self, config: HistoryConfig, limits: Limits, clock: Callable[[], float], unit: Unit = "day") -> None:
        """`unit` is the span of time of a book. Only days can be closed."""
        #: A source that was removed and is added again reads its logs from their beginning.
        self.rereads = False
        self.books: dict[BookKey, Book] = {}
        self.closed: ChangeTracker[str, str] = ChangeTracker()
        #: Functions that enter the numbers that wait outside the books.
        self.waiting: list[Callable[[], None]] = []
        self._clock, self._unit = clock, unit
        self._forgotten: set[BookKey] = set()
        self._keys: dict[int, str] = {}
        self.configure(config, limits)

    def configure(self, config: HistoryConfig, limits: Limits) -> None:
        self.config, self._limits = config, limits
        self._local: tzinfo = zone(config.timezone)
        self.span_of = Spans(self._unit, self._local)
        self._keys.clear()

    @property
    def enabled(self) -> bool:
        return self.config.days > 0

    def key(self, source: str, at: int | None, is_doubtful: bool = False) -> BookKey:
        """The key of the book in which a time counts, in nanoseconds. The time None is now.

        This is the book NO_DAY for a line that is too late, because its day is closed, and for a time that is not
        believed: `is_doubtful` by the lines around it (`parsers.slices`), or too far from the clock.
        """
        now = round(self._clock() * SECOND)
        at = now if at is None else at
        day = NO_DAY if is_doubtful or not _OLDEST <= at <= now + _MAX_AHEAD else self._day(at)
        if day <= self.closed.get(source, ""):
            day = NO_DAY
        return self.config.timezone, day, source

    def book(self, key: BookKey) -> Book:
        """The book with this key, which is added if there is none."""
        if key not in self.books:
            self.books[key] = Book(self._limits)
        return self.books[key]

    def enter_waiting(self) -> None:
        """Enter what the sources have summed up into the books. Before this call, the books are not complete."""
        for enter in self.waiting:
            enter()

    def close_days(self, sources: Mapping[str, ReachedTimes]) -> None:
        """Close the days that are older than everything that is being read."""
        now = round(self._clock() * SECOND)
        for source, reached in sources.items():
            if reached.knows_all_files(now):
                newest = (each.newest for each in reached.active(now))
                floor = min((self._day(at) for at in newest if at is not None), default=NO_DAY)
                due = [day for day in sorted(self._days(source))[:-NEWEST_DAYS] if day < floor]
                if due:
                    self.closed[source] = due[-1]

    def closed_books(self, sources: frozenset[str]) -> dict[BookKey, Book]:
        """The books that are complete and wait for the archive. `sources` are those whose books continue.

        Books of another time zone, and of a source that is not configured, stay for some days, because they continue
        if the zone or the source is configured again. If the source then reads its logs again, its books do not
        continue, so they are complete.
        """
        kept = self._day(round((self._clock() - NEWEST_DAYS * 86_400) * SECOND))

        def is_complete(zone_name: str, day: str, source: str) -> bool:
            if source not in sources:
                return self.rereads or day < kept
            return day < kept if zone_name != self.config.timezone else day <= self.closed.get(source, "")

        return {key: book for key, book in self.books.items() if key[1] != NO_DAY and is_complete(*key)}

    def forget(self, keys: Iterable[BookKey]) -> None:
        for key in keys:
            if self.books.pop(key, None) is not None:
                self._forgotten.add(key)

    def restore(self, books: Mapping[BookKey, Entries], closed: Mapping[str, str]) -> None:
        if not self.enabled:
            return
        for key, entries in books.items():
            book = self.books[key] = Book(self._limits)
            book.restore(entries)
        self.closed.enter(closed)

    def changes(self) -> dict[BookKey, dict[Labels, Entry | None] | None]:
        """The entries that changed since the last call, by book; None for a book that was removed."""
        gone: dict[BookKey, dict[Labels, Entry | None] | None] = dict.fromkeys(self._forgotten)
        self._forgotten = set()
        return gone | {key: changed for key, book in self.books.items() if (changed := book.changes())}

    def _days(self, source: str) -> list[str]:
        """The open days of a source."""
        closed = self.closed.get(source, "")
        return [
            day
            for zone_name, day, name in self.books
            if name == source and zone_name == self.config.timezone and closed < day != NO_DAY
        ]

    def _day(self, at: int) -> str:
        """The name of the span of a time: a date, or an hour with its offset from UTC."""
        begin, _ = self.span_of(at)
        name = self._keys.get(begin)
        if name is None:
            if len(self._keys) > 10_000:
                self._keys.clear()
            moment = datetime.fromtimestamp(begin // SECOND, UTC).astimezone(self._local)
            name = moment.date().isoformat() if self._unit == "day" else moment.isoformat(timespec="minutes")
            self._keys[begin] = name
        return name
