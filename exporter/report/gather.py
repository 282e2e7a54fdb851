"""Gathers the books of a report, from the history by day or from logs, and says what is not whole in them: one sentence
for each, so that no gap is taken for silence.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from exporter.config.settings import Config
from exporter.ledger.book import BEHIND, DROPPED_TIMES, LINES, UNPARSED, BookKey, Entries
from exporter.ledger.calendar import Spans, Unit, midnight
from exporter.ledger.history import NO_DAY, History, HistoryConfig
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import present
from exporter.messages import counted, some
from exporter.persistence import archive
from exporter.persistence.checkpoint import read_state
from exporter.replay.event_times import Span, behind
from exporter.replay.jobs import Job, Listener, run
from exporter.replay.workers import Workers
from exporter.report.query import Query
from parsers.batch import Batch
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
    advance: Callable[[Batch], None],
) -> Gathered:
    """The books of logs, which are read once. A book is a day, or an hour if the report is by hour.

    Raises InputError and WorkersError.
    """
    unit: Unit = "hour" if query.by == "hour" else "day"
    timezone = str(query.local)
    ledger = Ledger(config.limits, time.time, config.buckets, config.prices, is_stored=False)
    ledger.keep_history(History(HistoryConfig(timezone, 1), config.limits, time.time, unit))
    span = Span(query.since, query.until, Spans(unit, query.local))
    for _, batch, _ in run(jobs, ledger, config.limits.line_length, span, listener, workers):
        advance(batch)
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


#: The largest number of days that a sentence names.
_MAX_NAMED = 5


def incomplete(gathered: Gathered, shown: list[Dated], query: Query, now: int) -> Iterator[str]:
    """`shown` are the books of the report's span, `now` is the clock in nanoseconds."""
    yield from gathered.sentences
    today = query.moment(now).date().isoformat()
    if (gathered.is_history and query.contains(now)) or any(each.day == today for each in shown):
        yield f"{today}: the day is not over"
    for source in sorted({each.source for each in gathered.books}):
        yield from _of_source(source, gathered, shown, query)
    for source, lines in sorted(gathered.late.items()):
        yield (
            f"source {source}: {counted(lines, 'line is', 'lines are')} in no row, because their time is "
            "implausible, or their day was already closed"
        )


def incomplete_before(gathered: Gathered, query: Query) -> Iterator[str]:
    """The gaps of the span before, to which the report is compared. `query` selects that span."""
    begin, end = (query.moment(at).date().isoformat() for at in query.limits)
    first = gathered.books[0] if gathered.books else None
    if first is None or first.begin >= query.limits[1]:
        yield f"{begin} to {end}: the span before has no line, so its figures are 0"
    elif first.day > begin:
        yield f"{begin} to {end}: the span before is not whole, because the first line is of {first.day}"


def _of_source(source: str, gathered: Gathered, shown: list[Dated], query: Query) -> Iterator[str]:
    first = min((each for each in gathered.books if each.source == source), key=lambda each: each.begin)
    is_shown = query.until is None or first.begin < query.until
    if gathered.is_history and (query.since is None or query.since <= first.begin) and is_shown:
        yield f"{first.day}: the history of source {source} begins on this day, which may not be whole"
    own = [each for each in shown if each.source == source]
    silent = _silent([each.day for each in own if _number(each, LINES)])
    if silent:
        yield f"{some(silent, _MAX_NAMED)}: source {source} has no line, and it has lines before and after"
    dropped = sum(_number(each, DROPPED_TIMES) for each in own)
    if dropped:
        yield (
            f"source {source}: {counted(dropped, 'time was', 'times were')} not understood: such a line counts "
            "with the line before it"
        )
    if lines := sum(_number(each, BEHIND) for each in own):
        yield behind(source, lines)
    if lines := sum(_number(each, UNPARSED) for each in own):
        found = counted(lines, "line was", "lines were")
        yield f"source {source}: {found} not understood, so no row contains anything of it"
    other = [each for each in own if each.timezone != str(query.local)]
    if other:
        zones = f"begin at midnight in {other[0].timezone}, not in {query.local}"
        yield f"{other[0].day} to {other[-1].day}: the days of source {source} {zones}"


def _number(book: Dated, table: str) -> int:
    number = book.entries.get((table,), 0)
    assert not isinstance(number, dict)
    return int(number)


def _silent(days: list[str]) -> list[str]:
    """The days between the first and the last of some days that are not among them."""
    known = set(days)
    if not known:
        return []
    day, last, silent = date.fromisoformat(min(known)), date.fromisoformat(max(known)), []
    while day < last:
        if day.isoformat() not in known:
            silent.append(day.isoformat())
        day += timedelta(days=1)
    return silent
