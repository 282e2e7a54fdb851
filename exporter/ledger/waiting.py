"""Sums up the records of a source that need not be entered at once.

A record can wait if it cannot add a series: each of its series exists, or its metric is full, so that its open labels
become `other`. The order of such records does not matter. So those with equal labels are summed up, and the sums are
entered when somebody needs the numbers. A label set that comes again and again then costs one addition per record, and
of a flood of distinct labels only one sum is left.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence, Set
from decimal import Decimal
from itertools import compress, groupby
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.fold import METRICS_OF, WORKER_KINDS, count, count_unpriced, count_usage, observe
from exporter.ledger.series import Labels, Series, clean
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.sums import Sums, Target, UsageGroup, UsageSum, filled
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
        kept = _sum_up_usages(ledger, found) if kind is b.Usage else _sum_up_counted(ledger, kind, found)
        rest.update(map(id, kept))
    waiting = ledger.waiting
    if waiting.size > _MOST_SUMS:
        enter_waiting(ledger)
    elif waiting.size_of_durations > _MOST_DURATIONS:
        _enter_durations(ledger, waiting)
        waiting.durations.clear()
        waiting.size_of_durations = 0
    return [record for record in records if id(record) in rest] if rest else ()


def _sum_up_usages(ledger: SourceLedger, usages: Sequence[b.Usage]) -> list[b.Usage]:
    rest = []
    for (quarter, *shape), group in _by_shape(usages):
        members = group
        at = min(map(attrgetter("at"), members))
        windows = ledger.budgets.windows(event_time(ledger, at))
        models = set(map(attrgetter("model"), members)) if members[0].cost is None else ()
        if known := set(filter(ledger.prices.knows, models)):
            priced = [usage for usage in members if usage.model in known]
            ids = set(map(id, priced))
            members = [usage for usage in members if id(usage) not in ids]
            long = [usage for usage in priced if _prompt(usage) > b.LONG_PROMPT]
            short = [usage for usage in priced if _prompt(usage) <= b.LONG_PROMPT]
            rest += [*long, *_add_usages(ledger, UsageGroup(windows, quarter, *shape), at, short)]
        rest += _add_usages(ledger, UsageGroup(windows, None, *shape), at, members)
    return rest


def _by_shape(usages: Sequence[b.Usage]) -> Collection[tuple[Any, Sequence[b.Usage]]]:
    """Group usages by their quarter of an hour and their fields of `UsageGroup`."""
    columns: list[list[Any]] = [
        [usage.at // _QUARTER for usage in usages],  # type: ignore[operator]
        list(map(attrgetter("currency"), usages)),
        *(list(map(type, map(attrgetter(name), usages))) for name in UsageGroup._fields[3:7]),
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
    refused = _refused_usages(ledger, group, unknown) if unknown else ()
    if refused:
        _add_refused(ledger, group, at, [usage for usage, each in zip(usages, labels, strict=True) if each in refused])
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


def _add_refused(ledger: SourceLedger, group: UsageGroup, at: int, usages: Sequence[b.Usage]) -> None:
    """Add usages whose open labels are refused to one sum, and their unpriced tokens to one per model."""
    folded = group._replace(refused=True)
    _see(ledger, folded, at)
    _add_columns(ledger.waiting.usages[folded].setdefault(_REFUSED, _new_sum()), usages)
    if group.cost is not type(None) or not group.has_tokens:
        return
    targets = _targets(ledger, c.UNPRICED_TOKENS, _labels(usages, ("provider", "model")))
    unpriced = ledger.waiting.unpriced
    for target, usage in zip(targets, usages, strict=True):
        sums = unpriced[target]
        sums[0] += (usage.input_tokens or 0) + (usage.output_tokens or 0) + (usage.unsplit_tokens or 0)
        sums[1] += usage.count


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


def _refused_usages(ledger: SourceLedger, group: UsageGroup, labels: set[Labels]) -> Collection[Labels]:
    """Of these labels those that occur in no series of tokens or costs and never will."""
    series, budgets = ledger.series, ledger.budgets
    has_cost = group.cost is not type(None)
    if not series.is_full(c.TOKENS_USED) or (has_cost and not series.is_full(c.COST)):
        return ()
    known = series.label_sets(ledger.source, (c.TOKENS_USED, c.COST), 3)
    unknown = set(_not_in(known, labels, series)) - {_OTHERS}
    if budgets.has_filters:
        unknown = {each for each in unknown if not budgets.filters(ledger.source, *each)}
    if has_cost:
        return unknown
    if group.quarter is not None:
        return ()
    free = [*unknown]
    targets = _targets(ledger, c.UNPRICED_TOKENS, [each[1:] for each in free])
    return {each for each, target in zip(free, targets, strict=True) if target is not None}


_OTHERS, _REFUSED = (b.OTHER, b.OTHER, b.OTHER), ("", "", "")


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


def _sum_up_counted(ledger: SourceLedger, kind: Any, records: Sequence[Any]) -> list[b.Record]:
    """Add records of one type that count in one counter and one histogram at most. Returns those that cannot wait."""
    if kind is b.Run:
        ledger.has_telemetry |= any(record.kind in WORKER_KINDS for record in records)
    counter, histogram = METRICS_OF[kind]
    if histogram is None:
        return _add_counted(ledger, (counter,), records)
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
    targets = [_targets(ledger, metric, _labels(records, metric.labels[1:])) for metric in used]
    rest = []
    if any(None in each for each in targets):
        waits = [None not in each for each in zip(*targets, strict=True)]
        rest = [record for record, can_wait in zip(records, waits, strict=True) if not can_wait]
        records, targets = list(compress(records, waits)), [list(compress(each, waits)) for each in targets]
    for metric, found in zip(used, targets, strict=True):
        if metric.kind == "counter":
            _add_counts(ledger.waiting.counts[metric], found, list(map(attrgetter("count"), records)))
        else:
            durations = [record.durations or (record.duration,) for record in records]
            ledger.waiting.size_of_durations += sum(map(len, durations))
            _add_durations(ledger.waiting.durations[metric], found, durations)
    return rest


def _labels(records: Sequence[Any], names: Sequence[str]) -> list[Labels]:
    return list(zip(*(map(attrgetter(name), records) for name in names), strict=True))


def _add_counts(sums: Counter[Target], targets: Sequence[Target], counts: Sequence[int]) -> None:
    if counts.count(1) == len(counts):
        sums.update(targets)
        return
    for target, number in zip(targets, counts, strict=True):
        sums[target] += number


def _add_durations(
    sums: defaultdict[Target, list[int]], targets: Sequence[Target], durations: Sequence[Sequence[int]]
) -> None:
    for target, more in zip(targets, durations, strict=True):
        sums[target] += more


def _targets(ledger: SourceLedger, metric: c.Metric, labels: Sequence[Labels]) -> Sequence[Any]:
    """The sum of each of these labels, which lack the source: the labels themselves, or None instead of each open label
    if the metric refuses them. None for labels that could add a series.
    """
    series, source = ledger.series, ledger.source
    if not labels:
        return labels
    known: Set[Labels]
    if not series.is_full(metric):
        known = {each for each in set(labels) if series.is_settled(metric, (source, *each))}
        return [each if each in known else None for each in labels]
    known = series.label_sets(source, (metric,), len(metric.labels) - 1)
    is_open = [name in c.OPEN_LABELS for name in metric.labels[1:]]
    columns = list(zip(*labels, strict=True))
    nothing = [None] * len(labels)
    folded = zip(*(nothing if opened else each for opened, each in zip(is_open, columns, strict=True)), strict=True)
    values = list(map(set, columns))
    if not all(series.is_clean(tuple(each)) for each in values) or any(b.OTHER in each for each in values):
        cleaned = {each: _cleaned(each, series) for each in set(labels)}
        others = (b.OTHER,) * sum(is_open)
        known = {each for each, kept in cleaned.items() if kept in known or tuple(compress(kept, is_open)) == others}
    return [each if each in known else target for each, target in zip(labels, folded, strict=True)]
