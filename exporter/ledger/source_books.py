"""The books of one source, for the functions that fold records."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal

from exporter.ledger import exponential
from exporter.ledger.book import Book, BookKey, Entries, Entry, sum_of
from exporter.ledger.history import History
from exporter.ledger.series import Labels

#: The largest number of durations and sums of a source that wait, in addition to those of one window.
_MOST_WAITING = 1 << 16


class SourceBooks:
    """The books of one source, for the functions that fold records. Without a history it stores nothing.

    Numbers wait in sums, because many records and many windows have equal labels. They are entered when the books are
    needed, when another book begins, or when too many of them wait. `record_time` is the time in nanoseconds of records
    that belong to another time than the lines being read, else None.
    """

    record_time: int | None = None

    def __init__(self, history: History, source: str) -> None:
        self._history, self._source = history, source
        self._key: BookKey | None = None
        self._sums: dict[Labels, Entry] = {}
        self._durations: defaultdict[Labels, list[int]] = defaultdict(list)
        self._waiting = 0
        #: Enters the records that wait to be entered.
        self.enter_records: Callable[[], None] = lambda: None
        history.waiting.append(self.enter_waiting)

    def begin(self, at: int | None, is_doubtful: bool) -> None:
        """Begin a batch. It belongs to the book of the event time `at` in nanoseconds; None if none is known."""
        if not self._history.enabled:
            return
        key = self._history.key(self._source, at, is_doubtful)
        if key != self._key or self._waiting + len(self._sums) > _MOST_WAITING:
            self.enter_waiting()
        self._key = key

    def includes(self, at: int) -> bool:
        """Whether the book of the batch has the records of this time, in nanoseconds, or there is no book at all."""
        return not self._history.enabled or self._history.key(self._source, at) == self._key

    def add(self, table: str, labels: Labels, amount: int | Decimal, at: int | None = None) -> None:
        """Add to a number. `at` is given for an event that ended at another time than the lines being read."""
        if not self._history.enabled:
            return
        key, at = (table, *labels), self.record_time if at is None else at
        if at is None:
            self._sums[key] = sum_of(self._sums.get(key), amount)
        else:
            self._book(at).add(key, amount)

    def observe(self, table: str, labels: Labels, durations: Sequence[int]) -> None:
        """Add durations in nanoseconds. There must be at least one."""
        if self.record_time is not None and self._history.enabled:
            self._book(self.record_time).add((table, *labels), exponential.counted(durations))
        elif self._history.enabled:
            self._durations[table, *labels] += durations
            self._waiting += len(durations)

    def enter_waiting(self) -> None:
        """Enter the sums into the book of their batches."""
        self.enter_records()
        if entries := self.taken():
            book = self._book(None) if self._key is None else self._history.book(self._key)
            for labels, entry in entries.items():
                book.add(labels, entry)

    def taken(self) -> Entries:
        """Remove and return the sums."""
        sums = self._sums
        self._sums = {}
        for labels, durations in self._durations.items():
            sums[labels] = sum_of(sums.get(labels), exponential.counted(durations))
        self._durations.clear()
        self._waiting = 0
        return sums

    def put(self, entries: Entries) -> None:
        """Add the sums that `taken` of other books returned."""
        for labels, entry in entries.items():
            self._sums[labels] = sum_of(self._sums.get(labels), entry)

    def _book(self, at: int | None) -> Book:
        return self._history.book(self._history.key(self._source, at))
