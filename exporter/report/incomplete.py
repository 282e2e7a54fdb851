"""What is not whole in a report: one sentence for each, so that no gap is taken for silence."""

from collections.abc import Iterator
from datetime import date, timedelta

from exporter.ledger.book import BEHIND, DROPPED_TIMES, LINES, UNPARSED
from exporter.messages import counted, some
from exporter.replay.event_times import behind
from exporter.report.gather import Dated, Gathered
from exporter.report.query import Query

#: The largest number of days that a sentence names.
_MAX_NAMED = 5


def sentences(gathered: Gathered, shown: list[Dated], query: Query, now: int) -> Iterator[str]:
    """`shown` are the books of the report's span, `now` is the clock in nanoseconds."""
    yield from gathered.sentences
    today = query.moment(now).date().isoformat()
    if (gathered.is_history and query.contains(now)) or any(each.day == today for each in shown):
        yield f"{today}: the day is not over"
    for source in sorted({each.source for each in gathered.books}):
        yield from _of_source(source, gathered, shown, query)
    for source, lines in sorted(gathered.late.items()):
        yield (
            f"source {source}: {counted(lines, 'line is', 'lines are')} in no row, because of a time that is not "
            "believed, or of a day that was already closed"
        )


def before(gathered: Gathered, query: Query) -> Iterator[str]:
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
