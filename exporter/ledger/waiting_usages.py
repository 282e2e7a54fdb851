"""Sums up the usages of a source that need not be entered at once (see `exporter.ledger.waiting`)."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal
from itertools import compress
from operator import attrgetter
from typing import Any

from exporter import catalogue as c
from exporter.ledger.series import Labels
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.sum_targets import labels_of, not_in, targets_of
from exporter.ledger.sums import UsageGroup, UsageSum
from parsers import batch as b
from parsers.values.numbers import SECOND

#: Usages of the same quarter of an hour have the same budget windows and prices. In nanoseconds.
_QUARTER = 900 * SECOND

_USAGE_LABELS = attrgetter("app_id", "provider", "model")
_OTHERS, _REFUSED = (b.OTHER, b.OTHER, b.OTHER), ("", "", "")


def sum_up_usages(ledger: SourceLedger, usages: Sequence[b.Usage]) -> list[b.Usage]:
    """Add usages with a time to the sums. Returns those that cannot wait."""
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
    targets = targets_of(ledger, c.UNPRICED_TOKENS, labels_of(usages, ("provider", "model")))
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
    unknown = set(not_in(known, labels, series)) - {_OTHERS}
    if budgets.has_filters:
        unknown = {each for each in unknown if not budgets.filters(ledger.source, *each)}
    if has_cost:
        return unknown
    if group.quarter is not None:
        return ()
    free = [*unknown]
    targets = targets_of(ledger, c.UNPRICED_TOKENS, [each[1:] for each in free])
    return {each for each, target in zip(free, targets, strict=True) if target is not None}


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
