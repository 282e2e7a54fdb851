"""Gathers the books of a report: from the history by day, or from logs."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from exporter.config.settings import Config
from exporter.ledger.book import BookKey, Entries
from exporter.ledger.calendar import Spans, Unit, midnight
from exporter.ledger.history import NO_DAY, History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import present
from exporter.persistence import archive
from exporter.persistence.checkpoint import read_state
from exporter.replay.jobs import Job, Listener, Step, run
from exporter.replay.span import Span
from exporter.replay.workers import Workers
from exporter.report.query import Query
from parsers.values.numbers import SECOND
from parsers.values.times import zone


class Dated(Struct, frozen=True):
    """A book, with the nanosecond at which its span begins, and the date and time zone of that moment."""

    begin: int
    day: str
    timezone: str
    source: str
    entries: Entries


class Gathered(Struct, frozen=True):
    """The books in the order of time. `late` is the number of lines by source that belong to no day.

    `is_history` says that they come from the history, whose first day may have begun before the exporter.
    """

    books: list[Dated]
    late: Mapping[str, int]
    sentences: tuple[str, ...] = ()
    is_history: bool = False


def from_history(folder: Path) -> Gathered:
    """All books of a state folder, also while an exporter uses it. Raises OSError for a file that cannot be read."""
    state, problems = read_state(folder)  # first: a day may move to the archive in between
    recent = {} if state is None else state.history
    stored, sentences = archive.read(folder)
    books: dict[BookKey, Entries] = {key: present(book) for key, book in recent.items() if book is not None}
    # A day is in both if its source began it anew, or if it moves just now. The archive would keep the larger one too.
    for key, book in stored.items():
        if archive.lines_of(book) >= archive.lines_of(books.get(key, {})):
            books[key] = book
    return _gathered(books, (*problems, *sentences), is_history=True)


def from_logs(
    jobs: Sequence[Job],
    query: Query,
    config: Config,
    listener: Listener,
    workers: Workers,
    advance: Callable[[Step], None],
) -> Gathered:
    """The books of logs, which are read once. A book is a day, or an hour if the report is by hour.

    Raises InputError and WorkersError.
    """
    unit: Unit = "hour" if query.by == "hour" else "day"
    timezone = str(query.local)
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, is_stored=False)
    ledger.keep_history(History(HistoryConfig(timezone, 1), config.limits, time.time, unit))
    span = Span(query.since, query.until, Spans(unit, query.local))
    for step in run(jobs, ledger, config.limits.line_length, span, listener, workers):
        advance(step)
    ledger.snapshot(None)  # all runs have ended
    return _gathered(ledger.books())


def _gathered(
    books: Mapping[BookKey, Entries], sentences: tuple[str, ...] = (), *, is_history: bool = False
) -> Gathered:
    late = Counter[str]()
    dated = []
    for (timezone, name, source), entries in books.items():
        if name == NO_DAY:
            late[source] += archive.lines_of(entries)
            continue
        moment = datetime.fromisoformat(name)
        begin = midnight(moment.date(), zone(timezone)) if moment.tzinfo is None else int(moment.timestamp()) * SECOND
        dated.append(Dated(begin, name[:10], timezone, source, entries))
    return Gathered(sorted(dated, key=lambda each: (each.begin, each.source)), late, sentences, is_history)
