"""The history by day: what was counted on each day, so that a report can look back further than the counters.

A book holds the numbers of one source on one day of event time. The newest days are in the state, in the same commit as
the positions, so each line is in exactly one book. An older day is closed: it is written to the archive
(`exporter.persistence.archive`) and then leaves the state. A line of a closed day, and a line whose time is not
believed, count in the book `LATE` of its source.

A day is closed when it is not among the newest days of its source, and older than all files that are being read. So a
source that catches up with several old logs at once fills whole days.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct

from exporter.ledger import exponential
from exporter.ledger.calendar import Spans, Unit
from exporter.ledger.change_tracker import ChangeTracker
from exporter.ledger.series import Labels, Limits, clean
from parsers.batch import OTHER
from parsers.values.numbers import SECOND
from parsers.values.times import zone

#: The newest days of a source that stay in the state.
NEWEST_DAYS = 8

#: The name of the book of lines that belong to no day.
LATE = "late"

#: No event of Dify is older than 2000-01-01. A clock that was not set yet says 1970.
_OLDEST = 946_684_800 * SECOND

#: A file is being read if lines of it were posted in the last so many seconds.
_ACTIVE = 60.0

#: A time that is further ahead of the clock is not believed: days in the future would push the real ones out.
_MAX_AHEAD = 86_400 * SECOND

#: So many durations and sums of a source wait at most, beside those of one window.
_MOST_WAITING = 1 << 16

#: The tables of a book, with their label names. LINES counts lines, DROPPED_TIMES the times that were not understood.
LINES, DROPPED_TIMES = "lines", "dropped_times"
REQUESTS, FAILED_REQUESTS, RUNS, ERRORS = "requests", "failed_requests", "runs", "errors"
TOKENS, COST, UNPRICED_TOKENS = "tokens", "cost", "unpriced_tokens"
DURATIONS, FIRST_TOKENS = "durations", "first_tokens"
TABLES: Mapping[str, tuple[str, ...]] = {
    LINES: (),
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

#: The labels that become `other` when a table is full.
_OPEN = frozenset({"route", "app_id", "provider", "model"})

#: The time zone, the day (ISO 8601, or LATE) and the source of a book.
BookKey = tuple[str, str, str]

#: A number, or the counts of durations by exponential bucket.
Entry = int | Decimal | dict[int, int]

#: The entries of a book by the name of the table and its labels.
Entries = Mapping[Labels, Entry]


class HistoryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[history]`: the time zone whose midnight ends a day, and the number of days to keep; 0 keeps none."""

    timezone: str = "UTC"
    days: Annotated[int, Meta(ge=0)] = 400

    def __post_init__(self) -> None:
        zone(self.timezone)


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
        self[labels] = _sum(self.get(labels), entry)

    def _admit(self, labels: Labels, cap: int) -> Labels:
        """The label set under which a number counts: cleaned, and folded if the table is full."""
        name, length = labels[0], self._limits.label_length
        labels = (name, *(clean(value, length) if value else OTHER for value in labels[1:]))
        if labels not in self and self._sizes[name] >= cap:
            named = zip(TABLES[name], labels[1:], strict=True)
            labels = (name, *(OTHER if label in _OPEN else value for label, value in named))
        if labels not in self:
            self._sizes[name] += 1
        return labels


class History:
    """The books of all sources. Not thread-safe: the ledger locks. `clock` returns the wall clock in seconds."""

    def __init__(self, config: HistoryConfig, limits: Limits, clock: Callable[[], float], unit: Unit = "day") -> None:
        """`unit` is the span of time of a book. Only days can be closed."""
        self.books: dict[BookKey, Book] = {}
        self.closed: ChangeTracker[str, str] = ChangeTracker()
        self.sources: list[SourceBooks] = []
        self._clock, self._unit = clock, unit
        self._forgotten: set[BookKey] = set()
        #: The newest event time of each file of a source, and the wall clock when it was read.
        self._reached: dict[str, dict[str, tuple[int, float]]] = {}
        self._begun: dict[str, float] = {}
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

    def key(self, source: str, at: int | None, is_late: bool = False) -> BookKey:
        """The key of the book of a time in nanoseconds. The time None is now."""
        now = round(self._clock() * SECOND)
        at = now if at is None else at
        day = LATE if is_late or not _OLDEST <= at <= now + _MAX_AHEAD else self._day(at)
        if day <= self.closed.get(source, ""):
            day = LATE
        return self.config.timezone, day, source

    def book(self, key: BookKey) -> Book:
        """The book with this key, which is added if there is none."""
        if key not in self.books:
            self.books[key] = Book(self._limits)
        return self.books[key]

    def enter_waiting(self) -> None:
        """Enter what the sources have summed up into the books. Before this call, the books are not complete."""
        for each in self.sources:
            each.enter_waiting()

    def read(self, source: str, file: str, at: int | None) -> None:
        """Remember that a file of a source has reached a time, and is being read."""
        now = self._clock()
        self._begun.setdefault(source, now)
        if at is not None:
            self._reached.setdefault(source, {})[file] = at, now

    def forget_file(self, source: str, file: str) -> None:
        self._reached.get(source, {}).pop(file, None)

    def close_days(self, sources: Iterable[str]) -> None:
        """Close the days that no file will reach any more."""
        now = self._clock()
        for source in sources:
            if now - self._begun.get(source, now) < _ACTIVE:
                continue
            reached = self._reached.get(source, {})
            floor = min((self._day(at) for at, then in reached.values() if now - then < _ACTIVE), default=LATE)
            days = sorted(self._days(source))
            due = [day for day in days[:-NEWEST_DAYS] if day < floor]
            if due:
                self.closed[source] = due[-1]

    def closed_books(self, sources: frozenset[str]) -> dict[BookKey, Book]:
        """The books that are complete and wait for the archive.

        Books of other sources are always complete. Those of another time zone stay for some days, because they
        continue if a reload brings the zone back.
        """
        kept = self._day(round((self._clock() - NEWEST_DAYS * 86_400) * SECOND))

        def is_complete(zone_name: str, day: str, source: str) -> bool:
            if source not in sources:
                return True
            return day < kept if zone_name != self.config.timezone else day <= self.closed.get(source, "")

        return {key: book for key, book in self.books.items() if key[1] != LATE and is_complete(*key)}

    def forget(self, keys: Iterable[BookKey]) -> None:
        """Remove books that are in the archive."""
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
            if name == source and zone_name == self.config.timezone and closed < day != LATE
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


class SourceBooks:
    """The books of one source, for the functions that fold records. Without a history it takes nothing.

    Numbers wait in sums until somebody needs the books, another book begins, or there are many: many records and many
    windows have equal labels. `moved_to` is the time in nanoseconds of records that belong to another time than the
    lines being read, else None.
    """

    moved_to: int | None = None

    def __init__(self, history: History, source: str) -> None:
        self._history, self._source = history, source
        self._key: BookKey | None = None
        self._sums: dict[Labels, Entry] = {}
        self._durations: defaultdict[Labels, list[int]] = defaultdict(list)
        self._waiting = 0
        history.sources.append(self)

    def begin(self, at: int | None, is_late: bool) -> None:
        """Begin a batch. It belongs to the book of the event time `at` in nanoseconds; None if none is known."""
        if not self._history.enabled:
            return
        key = self._history.key(self._source, at, is_late)
        if key != self._key or self._waiting + len(self._sums) > _MOST_WAITING:
            self.enter_waiting()
        self._key = key

    def add(self, table: str, labels: Labels, amount: int | Decimal, at: int | None = None) -> None:
        """Add to a number. `at` is given for an event that ended at another time than the lines being read."""
        if not self._history.enabled:
            return
        key, at = (table, *labels), self.moved_to if at is None else at
        if at is None:
            self._sums[key] = _sum(self._sums.get(key), amount)
        else:
            self._book(at).add(key, amount)

    def observe(self, table: str, labels: Labels, durations: Sequence[int]) -> None:
        """Add durations in nanoseconds. There must be at least one."""
        if self.moved_to is not None and self._history.enabled:
            self._book(self.moved_to).add((table, *labels), exponential.counted(durations))
        elif self._history.enabled:
            self._durations[table, *labels] += durations
            self._waiting += len(durations)

    def enter_waiting(self) -> None:
        """Enter the sums into the book of their batches."""
        if entries := self.taken():
            book = self._book(None) if self._key is None else self._history.book(self._key)
            for labels, entry in entries.items():
                book.add(labels, entry)

    def taken(self) -> Entries:
        """Remove and return the sums."""
        sums = self._sums
        self._sums = {}
        for labels, durations in self._durations.items():
            sums[labels] = _sum(sums.get(labels), exponential.counted(durations))
        self._durations.clear()
        self._waiting = 0
        return sums

    def put(self, entries: Entries) -> None:
        """Add sums that other books have taken."""
        for labels, entry in entries.items():
            self._sums[labels] = _sum(self._sums.get(labels), entry)

    def _book(self, at: int | None) -> Book:
        return self._history.book(self._history.key(self._source, at))


def _sum(before: Entry | None, more: Entry) -> Entry:
    if before is None:
        return more
    if isinstance(before, dict) and isinstance(more, dict):
        counts = before.copy()
        exponential.merge(counts, more)
        return counts
    assert not isinstance(before, dict)
    assert not isinstance(more, dict)
    return before + more
