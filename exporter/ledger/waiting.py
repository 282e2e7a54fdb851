"""Sums up the records of a source that need not be entered at once.

The order of records that count by themselves does not matter. So those with equal labels are summed up, and the sums
are entered when somebody needs the numbers, or when another day begins. If a metric is full, so that the open labels of
a new label set become `other`, such records have one sum. A label set that comes again and again then costs one
addition per record, and a flood of distinct labels leaves only one sum. Many durations at once cost less, too.

A usage can wait if it cannot add a series: each of its series exists, or its metric is full.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.book import Entry
from exporter.ledger.fold import BOOKS, COUNTED, METRICS_OF, WORKER_KINDS, count_usage
from exporter.ledger.histogram import EMPTY, Histogram
from exporter.ledger.series import Labels
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.sums import Sums, Target, columns_of, filled, targets_of
from exporter.ledger.waiting_usages import sum_up_usages
from parsers import batch as b

#: The largest number of sums of a source that wait. It bounds the memory to some MB.
_MOST_SUMS = 1 << 15
#: The largest number of sums of a metric that wait although they may add series: those of all sources together may be
#: more than the metric can have series, and while they are entered, nothing else is.
_MOST_NEW = 1024
#: So many records are added at once at least, before a metric is full.
_LEAST = 256


def enter_waiting(ledger: SourceLedger) -> None:
    """Enter the sums into the series, the budgets and the history."""
    waiting, series, source = ledger.waiting, ledger.series, ledger.source
    if not waiting.size:
        return
    ledger.waiting = Sums()
    for usage, refused in waiting.usage_records():
        count_usage(ledger, usage, usage.at or 0, refused)
    for _, route, _ in waiting.counts.get(c.REQUESTS, ()):
        if (source, route, b.FAILURE_REASONS[0]) not in series.counters[c.FAILED_REQUESTS]:
            for reason in b.FAILURE_REASONS:
                series.add(c.FAILED_REQUESTS, (source, route or "", reason), 0, 0)
    for metric, counts in waiting.counts.items():
        for labels, amount in counts.items():
            records = waiting.records.get((metric, labels), amount)
            series.add(metric, (source, *filled(labels)), amount, records, refused=None in labels)
            _enter_in_book(ledger, metric, filled(labels), amount)
    _enter_durations(ledger, waiting)


def _enter_durations(ledger: SourceLedger, waiting: Sums) -> None:
    for metric, sums in waiting.durations.items():
        layout = ledger.series.layouts[metric]
        for labels, durations in sums.items():
            enter_durations(ledger, metric, filled(labels), layout.observe(EMPTY, durations), None in labels)
    waiting.durations.clear()
    waiting.size_of_durations = 0


def enter_durations(
    ledger: SourceLedger, metric: c.Metric, labels: Labels, durations: Histogram, refused: bool = False
) -> None:
    """Enter durations of a label set into the series and the history."""
    ledger.series.observe(metric, (ledger.source, *labels), durations, refused=refused)
    if metric in BOOKS and ledger.books.key is not None:
        _enter_in_book(ledger, metric, labels, ledger.series.layouts[metric].counted(durations))


def _enter_in_book(ledger: SourceLedger, metric: c.Metric, labels: Labels, entry: Entry) -> None:
    """Enter what a metric has counted into its table of the history. `labels` are those behind the source."""
    table, labels_of = BOOKS.get(metric, ("", None))
    if labels_of is not None and (found := labels_of(labels)) is not None:
        ledger.books.add(table, found, entry)


def sum_up(ledger: SourceLedger, records: Sequence[b.Record]) -> Sequence[b.Record]:
    """Add the records that can wait to the sums. Returns those that must be entered by themselves.

    Each usage must have a time.
    """
    by_kind = defaultdict[Any, list[Any]](list)
    for kind, members in groupby(records, type):  # parsers return many records of one type behind each other
        by_kind[kind if kind is b.Usage or kind in COUNTED else None] += members
    others, usages = by_kind.pop(None, []), by_kind.pop(b.Usage, [])
    alone = set(map(id, sum_up_usages(ledger, usages))) if usages else ()
    for kind, found in by_kind.items():
        if kind is b.Run:
            ledger.has_telemetry |= not WORKER_KINDS.isdisjoint(map(attrgetter("kind"), found))
        for metric in METRICS_OF.get(kind, ()):
            _sum_up_in(ledger, metric, found)
        for record in () if kind in METRICS_OF else found:
            COUNTED[kind](ledger.waiting, record)
    if ledger.waiting.size > _MOST_SUMS:
        enter_waiting(ledger)
    elif ledger.waiting.has_many_durations:
        _enter_durations(ledger, ledger.waiting)
    return others + [usage for usage in usages if id(usage) in alone] if alone else others


def _sum_up_in(ledger: SourceLedger, metric: c.Metric, records: Sequence[Any]) -> None:
    """Add records of one type to the sums of one of its metrics."""
    is_counter, series = metric.kind == "counter", ledger.series
    if not is_counter and None in list(map(attrgetter("duration"), records)):
        records = [record for record in records if record.durations or record.duration is not None]
    names, begin = metric.labels[1:], 0
    while begin < len(records):
        sums = ledger.waiting.counts[metric] if is_counter else ledger.waiting.durations[metric]
        room = series.room(metric)
        part = records[begin : begin + max(room - len(sums), _LEAST)] if room > 0 else records[begin:]
        begin += len(part)
        targets = targets_of(series, ledger.source, metric, columns_of(part, names))
        if is_counter:
            _add_counts(ledger.waiting.counts[metric], targets, list(map(attrgetter("count"), part)))
        else:
            ledger.waiting.size_of_durations += _add_durations(ledger.waiting.durations[metric], targets, part)
        most = min(room, _MOST_NEW)
        if 0 < most <= len(sums) >= ledger.waiting.next_check[metric]:
            new = len(sums.keys() - series.label_sets(ledger.source, (metric,), len(names)))
            ledger.waiting.next_check[metric] = len(sums) + max(most - new, min(most, _LEAST))
            if new >= most:
                enter_waiting(ledger)  # so that the metric is full: beyond the cap, many records have one sum


def _add_counts(sums: Counter[Target], targets: Sequence[Any], counts: Sequence[int]) -> None:
    if counts.count(1) == len(counts):
        sums.update(targets)
        return
    for target, number in zip(targets, counts, strict=True):
        sums[target] += number


def _add_durations(sums: defaultdict[Target, list[int]], targets: Sequence[Any], records: Sequence[Any]) -> int:
    """Add the durations of records to the sums that are their targets. Returns the number of durations."""
    many = list(map(attrgetter("durations"), records))
    if not any(many) and targets.count(targets[0]) == len(targets):
        sums[targets[0]] += map(attrgetter("duration"), records)
        return len(records)
    number = 0
    for target, record, durations in zip(targets, records, many, strict=True):
        more = durations or (record.duration,)
        sums[target] += more
        number += len(more)
    return number
