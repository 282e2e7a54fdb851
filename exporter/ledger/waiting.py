"""Sums up the records of a source that need not be entered at once.

A record can wait if it cannot add a series: each of its series exists, or its metric is full, so that its open labels
become `other`. The order of such records does not matter. So those with equal labels are summed up, and the sums are
entered when somebody needs the numbers. A label set that comes again and again then costs one addition per record, and
of a flood of distinct labels only one sum is left.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from itertools import chain, compress, groupby
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.fold import SUMMED, WORKER_KINDS
from exporter.ledger.series import Labels, Series, clean
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.sums import Sums, UsageGroup, UsageSum
from parsers import batch as b
from parsers.values.numbers import SECOND

#: Usages of the same quarter of an hour have the same budget windows and prices. In nanoseconds.
_QUARTER = 900 * SECOND

#: The largest numbers of sums and of durations of a source that wait. Each of them bounds the memory to some MB.
_MOST_SUMS, _MOST_DURATIONS = 1 << 15, 1 << 17

_USAGE_LABELS = attrgetter("app_id", "provider", "model")


def enter_waiting(ledger: SourceLedger) -> None:
    """Enter the sums into the series, the budgets and the history."""
    waiting = ledger.waiting
    if waiting.size:
        ledger.waiting = Sums()
        for record, refused in waiting.records():
            SUMMED[type(record)](ledger, record, refused)


def sum_up(ledger: SourceLedger, records: Sequence[b.Record]) -> Sequence[b.Record]:
    """Add the records that can wait to the sums. Returns the others, which must be entered by themselves.

    Each usage must have a time.
    """
    by_kind = defaultdict[Any, list[Any]](list)
    for kind, members in groupby(records, type):  # parsers return many records of one type behind each other
        by_kind[kind if kind in SUMMED else None] += members
    rest = set(map(id, by_kind.pop(None, ())))
    for kind, found in by_kind.items():
        kept = _sum_up_usages(ledger, found) if kind is b.Usage else _sum_up_counted(ledger, kind, found)
        rest.update(map(id, kept))
    if ledger.waiting.size > _MOST_SUMS or ledger.waiting.durations > _MOST_DURATIONS:
        enter_waiting(ledger)
    return [record for record in records if id(record) in rest] if rest else ()


def _sum_up_usages(ledger: SourceLedger, usages: Sequence[b.Usage]) -> list[b.Usage]:
    rest = []
    for (quarter, *shape), group in _by_shape(usages):
        members = group
        at = min(map(attrgetter("at"), members))
        windows = ledger.budgets.windows(event_time(ledger, at))
        priced = [usage for usage in members if usage.cost is None and ledger.prices.knows(usage.model)]
        if priced:
            ids = set(map(id, priced))
            members = [usage for usage in members if id(usage) not in ids]
            long = [usage for usage in priced if _prompt(usage) > b.LONG_PROMPT]
            short = [usage for usage in priced if _prompt(usage) <= b.LONG_PROMPT]
            rest += [*long, *_add_usages(ledger, UsageGroup((*windows, quarter), *shape), at, short)]
        rest += _add_usages(ledger, UsageGroup(windows, *shape), at, members)
    return rest


def _by_shape(usages: Sequence[b.Usage]) -> Collection[tuple[Any, Sequence[b.Usage]]]:
    """Group usages by their quarter of an hour and their fields of `UsageGroup`."""
    columns: list[list[Any]] = [
        [usage.at // _QUARTER for usage in usages],  # type: ignore[operator]
        list(map(attrgetter("currency"), usages)),
        *(list(map(type, map(attrgetter(name), usages))) for name in UsageGroup._fields[2:6]),
    ]
    has_tokens: list[bool] = [True] * len(usages)
    if type(None) in columns[2]:
        has_tokens = [
            usage.cost is not None or bool(usage.input_tokens or usage.output_tokens or usage.unsplit_tokens)
            for usage in usages
        ]
    columns.append(has_tokens)
    if all(column.count(column[0]) == len(column) for column in columns):  # a tuple per usage costs more
        return [([column[0] for column in columns], usages)]
    return _grouped(usages, list(zip(*columns, strict=True)))


def _prompt(usage: b.Usage) -> int:
    return (usage.input_tokens or 0) + (usage.unsplit_tokens or 0)


def _grouped(records: Sequence[Any], keys: Sequence[Any]) -> Collection[tuple[Any, Sequence[Any]]]:
    if keys and keys.count(keys[0]) == len(keys):
        return [(keys[0], records)]
    groups = defaultdict[Any, list[Any]](list)
    for key, record in zip(keys, records, strict=True):
        groups[key].append(record)
    return groups.items()


def _add_usages(ledger: SourceLedger, group: UsageGroup, at: int, usages: Sequence[b.Usage]) -> list[b.Usage]:
    """Add usages to the sums of their group. Returns those that cannot wait."""
    if not usages:
        return []
    sums = ledger.waiting.usages[group]
    labels: list[Labels] = list(map(_USAGE_LABELS, usages))
    unknown = set(labels).difference(sums)
    refused = _refused_usages(ledger, group, unknown) if unknown else {}
    if refused:
        folded = group._replace(refused=True)
        for target, members in _grouped(usages, list(map(refused.get, labels))):
            if target is not None:
                _see(ledger, folded, at)
                _add_columns(ledger.waiting.usages[folded].setdefault(target, _new_sum()), members)
        kept = [each not in refused for each in labels]
        usages, labels = list(compress(usages, kept)), list(compress(labels, kept))
    rest = []
    for usage, each in zip(usages, labels, strict=True):
        entry = sums.get(each)
        if entry is None:
            if not _can_wait(ledger, usage):
                rest.append(usage)
                continue
            entry = sums[each] = _new_sum()
        entry[0] += usage.input_tokens or 0
        entry[1] += usage.output_tokens or 0
        entry[2] += usage.unsplit_tokens or 0
        entry[3] += usage.cost or 0
        entry[4] += usage.count
    _see(ledger, group, at)
    return rest


def _see(ledger: SourceLedger, group: UsageGroup, at: int) -> None:
    at = event_time(ledger, at)
    ledger.waiting.times[group] = min(at, ledger.waiting.times.get(group, at))


def _new_sum() -> UsageSum:
    return [0, 0, 0, Decimal(), 0]


def _add_columns(entry: UsageSum, usages: Sequence[b.Usage]) -> None:
    names = ("input_tokens", "output_tokens", "unsplit_tokens", "cost", "count")
    for number, name in enumerate(names):
        if getattr(usages[0], name) is not None:
            entry[number] += sum(map(attrgetter(name), usages))


def _refused_usages(ledger: SourceLedger, group: UsageGroup, labels: set[Labels]) -> dict[Labels, Labels]:
    """The labels that occur in no series of tokens or costs and never will, each with the labels of its sum."""
    series, budgets = ledger.series, ledger.budgets
    has_cost = group.cost is not type(None)
    if not series.is_full(c.TOKENS_USED) or (has_cost and not series.is_full(c.COST)):
        return {}
    known = series.label_sets(ledger.source, (c.TOKENS_USED, c.COST), 3)
    unknown = _not_in(known, labels, series)
    if budgets.has_filters:
        unknown = [each for each in unknown if not budgets.filters(ledger.source, *each)]
    if has_cost:
        return dict.fromkeys([each for each in unknown if each != _OTHERS], ("", "", ""))
    unpriced, is_full, found = (
        series.counters[c.UNPRICED_TOKENS],
        series.is_full(c.UNPRICED_TOKENS),
        dict[Labels, Labels](),
    )
    for each in unknown:
        if each == _OTHERS or ledger.prices.knows(each[2]):
            continue
        _, provider, model = _cleaned(each, series)
        if (ledger.source, provider, model) in unpriced or (is_full and provider == model == b.OTHER):
            found[each] = ("", provider, model)
        elif is_full:
            found[each] = ("", "", "")
    return found


_OTHERS = (b.OTHER, b.OTHER, b.OTHER)


def _not_in(known: Collection[Labels], labels: set[Labels], series: Series) -> list[Labels]:
    """The label sets that are not in `known`, also not after they were cleaned."""
    unknown = [*labels.difference(known)]
    if all(series.is_clean(tuple(set(values))) for values in zip(*unknown, strict=True)):
        return unknown
    return [each for each in unknown if _cleaned(each, series) not in known]


def _cleaned(labels: Labels, series: Series) -> Labels:
    if series.is_clean(labels):
        return labels
    return tuple(clean(value, series.limits.label_length) for value in labels)


def _can_wait(ledger: SourceLedger, usage: b.Usage) -> bool:
    """Whether no usage with these labels can add a series."""
    series, labels = ledger.series, (ledger.source, usage.app_id, usage.provider, usage.model)
    tokens = {"input": usage.input_tokens, "output": usage.output_tokens, "unsplit": usage.unsplit_tokens}
    if not all(series.is_settled(c.TOKENS_USED, (*labels, name)) for name in tokens if tokens[name] is not None):
        return False
    if usage.cost is not None:
        return series.is_settled(c.COST, (*labels, usage.currency, "reported"))
    price = ledger.prices.find(usage, event_time(ledger, usage.at))
    if price is None:
        return series.is_settled(c.UNPRICED_TOKENS, (ledger.source, usage.provider, usage.model))
    is_priced = price.cost(usage) is not None
    return is_priced and series.is_settled(c.COST, (*labels, price.currency, "price_list"))


#: The counter and the histogram of other records. Their fields have the names of the labels.
_COUNTED: Mapping[type, tuple[c.Metric, c.Metric | None]] = {
    b.Run: (c.RUNS, c.RUN_DURATION),
    b.Task: (c.TASKS, c.TASK_DURATION),
    b.TaskReceived: (c.TASKS_RECEIVED, None),
    b.FirstToken: (c.TIME_TO_FIRST_TOKEN, None),
    b.UsageMissing: (c.USAGE_MISSING, None),
}


def _sum_up_counted(ledger: SourceLedger, kind: Any, records: Sequence[Any]) -> list[b.Record]:
    """Add records of one type that count in one counter and one histogram at most. Returns those that cannot wait."""
    if kind is b.Run:
        ledger.has_telemetry |= any(record.kind in WORKER_KINDS for record in records)
    if "durations" not in kind.__struct_fields__:
        return _add_counted(ledger, kind, False, records)
    timed = [bool(record.durations) or record.duration is not None for record in records]
    if all(timed):
        return _add_counted(ledger, kind, True, records)
    untimed = [record for record, is_timed in zip(records, timed, strict=True) if not is_timed]
    rest = _add_counted(ledger, kind, True, list(compress(records, timed)))
    # A time to the first token that is not known counts nowhere.
    return rest if kind is b.FirstToken else rest + _add_counted(ledger, kind, False, untimed)


def _add_counted(ledger: SourceLedger, kind: Any, is_timed: bool, records: Sequence[Any]) -> list[b.Record]:
    """Add records of one type, all of them with or all without durations. Returns those that cannot wait."""
    metric, histogram = _COUNTED[kind]
    metrics = [metric, histogram] if histogram is not None and is_timed else [metric]
    names = metric.labels[1:]
    labels = list(zip(*(map(attrgetter(name), records) for name in names), strict=True))
    sums = ledger.waiting.counted[kind, is_timed, False]
    unknown = set(labels).difference(sums)
    if refused := _refused_labels(ledger, metrics, unknown) if unknown else {}:
        targets = list(map(refused.get, labels))
        folded = ledger.waiting.counted[kind, is_timed, True]
        for target, members in _grouped(records, targets):
            if target is not None:
                _add_records(ledger, folded.setdefault(target, [0, []]), members, is_timed)
        kept = [target is None for target in targets]
        records, labels = list(compress(records, kept)), list(compress(labels, kept))
    rest, added = [], defaultdict[Labels, list[Any]](list)
    for record, each in zip(records, labels, strict=True):
        added[each].append(record)
    for each, members in added.items():
        if each in sums or all(ledger.series.is_settled(m, (ledger.source, *each)[: len(m.labels)]) for m in metrics):
            _add_records(ledger, sums.setdefault(each, [0, []]), members, is_timed)
        else:
            rest += members
    return rest


def _add_records(ledger: SourceLedger, entry: list[Any], records: Sequence[Any], is_timed: bool) -> None:
    entry[0] += sum(map(attrgetter("count"), records))
    if is_timed:
        durations = [record.durations or (record.duration,) for record in records]
        before = len(entry[1])
        entry[1].extend(chain.from_iterable(durations))
        ledger.waiting.durations += len(entry[1]) - before


def _refused_labels(ledger: SourceLedger, metrics: Sequence[c.Metric], labels: set[Labels]) -> dict[Labels, Labels]:
    """The labels that occur in no series of the metrics and never will, each with the labels of its sum."""
    series, source = ledger.series, ledger.source
    if not all(map(series.is_full, metrics)):
        return {}
    unknown: Collection[Labels] = labels
    for metric in metrics:
        length = len(metric.labels)
        known = series.label_sets(source, (metric,), length - 1)
        shortened = {each[: length - 1] for each in unknown}
        free = set(_not_in(known, shortened, series))
        unknown = [each for each in unknown if each[: length - 1] in free]
    is_open = [name in c.OPEN_LABELS for name in metrics[0].labels[1:]]
    found = {}
    for each in unknown:
        if any(value != b.OTHER for value in compress(each, is_open)):
            found[each] = tuple("" if opened else value for opened, value in zip(is_open, each, strict=True))
    return found
