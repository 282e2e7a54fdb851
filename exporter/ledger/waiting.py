"""Sums up the records of a source that need not be entered at once.

A record can wait if it cannot add a series: each of its series exists, or its metric is full, so that its open labels
become `other`. The order of such records does not matter. So those with equal labels are summed up, and the sums are
entered when somebody needs the numbers. A label set that comes again and again then costs one addition per record, and
a flood of distinct labels leaves only one sum.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import compress, groupby
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.fold import METRICS_OF, WORKER_KINDS, count, count_unpriced, count_usage, observe
from exporter.ledger.source_ledger import SourceLedger
from exporter.ledger.sum_targets import columns_of, targets_of
from exporter.ledger.sums import Sums, Target, filled
from exporter.ledger.waiting_usages import sum_up_usages
from parsers import batch as b

#: The largest numbers of sums and of durations of a source that wait. Each of them bounds the memory to some MB.
_MOST_SUMS, _MOST_DURATIONS = 1 << 15, 1 << 17


def enter_waiting(ledger: SourceLedger) -> None:
    """Enter the sums into the series, the budgets and the history."""
    waiting = ledger.waiting
    if waiting.size:
        ledger.waiting = Sums()
        for usage, refused in waiting.usage_records():
            count_usage(ledger, usage, usage.at or 0, refused)
        for labels, (tokens, number) in waiting.unpriced.items():
            count_unpriced(ledger, ("", *filled(labels)), tokens, number, None in labels)
        for metric, counts in waiting.counts.items():
            for labels, number in counts.items():
                count(ledger, metric, filled(labels), number, refused=None in labels)
        _enter_durations(ledger, waiting)


def _enter_durations(ledger: SourceLedger, waiting: Sums) -> None:
    for metric, durations in waiting.durations.items():
        for labels, found in durations.items():
            observe(ledger, metric, filled(labels), found, refused=None in labels)


def sum_up(ledger: SourceLedger, records: Sequence[b.Record]) -> Sequence[b.Record]:
    """Add the records that can wait to the sums. Returns the others, which must be entered by themselves.

    Each usage must have a time.
    """
    by_kind = defaultdict[Any, list[Any]](list)
    for kind, members in groupby(records, type):  # parsers return many records of one type behind each other
        by_kind[kind if kind is b.Usage or kind in METRICS_OF else None] += members
    rest = set(map(id, by_kind.pop(None, ())))
    for kind, found in by_kind.items():
        kept = sum_up_usages(ledger, found) if kind is b.Usage else _sum_up_counted(ledger, kind, found)
        rest.update(map(id, kept))
    waiting = ledger.waiting
    if waiting.size > _MOST_SUMS:
        enter_waiting(ledger)
    elif waiting.size_of_durations > _MOST_DURATIONS:
        _enter_durations(ledger, waiting)
        waiting.durations.clear()
        waiting.size_of_durations = 0
    return [record for record in records if id(record) in rest] if rest else ()


def _sum_up_counted(ledger: SourceLedger, kind: Any, records: Sequence[Any]) -> list[b.Record]:
    """Add records of one type that count in one counter and one histogram at most. Returns those that cannot wait."""
    if kind is b.Run:
        ledger.has_telemetry |= not WORKER_KINDS.isdisjoint(map(attrgetter("kind"), records))
    counter, histogram = METRICS_OF[kind]
    if histogram is None:
        return _add_counted(ledger, (counter,), records)
    durations = list(map(attrgetter("duration"), records))
    if None not in durations:
        return _add_counted(ledger, (counter, histogram), records)
    timed = [bool(record.durations) or record.duration is not None for record in records]
    rest = _add_counted(ledger, (counter, histogram), list(compress(records, timed)))
    if counter is None or all(timed):
        return rest
    untimed = [record for record, is_timed in zip(records, timed, strict=True) if not is_timed]
    return rest + _add_counted(ledger, (counter,), untimed)


def _add_counted(ledger: SourceLedger, metrics: Sequence[c.Metric | None], records: Sequence[Any]) -> list[b.Record]:
    """Add records of one type to their sums in these metrics. Returns those that cannot wait."""
    if not records:
        return []
    used = [metric for metric in metrics if metric is not None]
    targets = [targets_of(ledger, metric, columns_of(records, metric.labels[1:])) for metric in used]
    rest = []
    if not all(map(ledger.series.is_full, used)):
        waits = [None not in each for each in zip(*targets, strict=True)]
        rest = [record for record, can_wait in zip(records, waits, strict=True) if not can_wait]
        records, targets = list(compress(records, waits)), [list(compress(each, waits)) for each in targets]
        if not records:
            return rest
    for metric, found in zip(used, targets, strict=True):
        if metric.kind == "counter":
            _add_counts(ledger.waiting.counts[metric], found, list(map(attrgetter("count"), records)))
        else:
            ledger.waiting.size_of_durations += _add_durations(ledger.waiting.durations[metric], found, records)
    return rest


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
