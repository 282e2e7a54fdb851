"""Sums up the usages of a source that need not be entered at once (see `exporter.ledger.waiting`)."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal
from itertools import compress
from operator import attrgetter, not_
from typing import Any

from exporter import catalogue as c
from exporter.ledger.source_ledger import SourceLedger, event_time
from exporter.ledger.sums import Sums, UsageGroup, UsageSum, columns_of, keep_labels, targets_of
from parsers import batch as b
from parsers.values.numbers import QUARTER

_LABELS = ("app_id", "provider", "model")
_REFUSED = ("", "", "")


def sum_up_usages(ledger: SourceLedger, usages: Sequence[b.Usage]) -> list[b.Usage]:
    """Add usages with a time to the sums. Returns those that cannot wait."""
    rest = []
    for (quarter, *shape), group in _by_shape(usages):
        members = group
        at = min(map(attrgetter("at"), members))
        windows = ledger.budgets.windows(event_time(ledger, at))
        models = set(map(attrgetter("model"), members)) if members[0].cost is None else set[str]()
        if known := ledger.prices.known(models):
            priced = [usage for usage in members if usage.model in known]
            members = [usage for usage in members if usage.model not in known]
            short = [usage for usage in priced if _prompt(usage) <= b.LONG_PROMPT]
            rest += [usage for usage in priced if _prompt(usage) > b.LONG_PROMPT]
            rest += _add_usages(ledger, UsageGroup(windows, quarter, *shape), at, short)
        rest += _add_usages(ledger, UsageGroup(windows, None, *shape), at, members)
    return rest


def _by_shape(usages: Sequence[b.Usage]) -> Collection[tuple[Any, Sequence[b.Usage]]]:
    """Group usages by their quarter of an hour and their fields of `UsageGroup`."""
    times = list(map(attrgetter("at"), usages))
    is_one_time = times.count(times[0]) == len(times)  # telemetry is summed up by quarters already
    amounts = [list(map(attrgetter(name), usages)) for name in UsageGroup._fields[3:7]]
    columns: list[list[Any]] = [
        [times[0] // QUARTER] * len(times) if is_one_time else [time // QUARTER for time in times],
        list(map(attrgetter("currency"), usages)),
        *(list(map(type, each)) for each in amounts),
    ]
    costs, *tokens = amounts
    has_tokens = [True] * len(usages)
    if None in costs and not any(None not in each and 0 not in each for each in tokens):
        is_zero = zip(*(map(not_, each) for each in tokens), strict=True)
        has_tokens = [cost is not None or not all(each) for cost, each in zip(costs, is_zero, strict=True)]
    columns.append(has_tokens)
    if all(column.count(column[0]) == len(column) for column in columns):  # a tuple per usage costs more
        return [([column[0] for column in columns], usages)]
    groups = defaultdict[Any, list[b.Usage]](list)
    for shape, usage in zip(zip(*columns, strict=True), usages, strict=True):
        groups[shape].append(usage)
    return groups.items()


def _prompt(usage: b.Usage) -> int:
    return (usage.input_tokens or 0) + (usage.unsplit_tokens or 0)


def _add_usages(ledger: SourceLedger, group: UsageGroup, at: int, usages: Sequence[b.Usage]) -> list[b.Usage]:
    usages = _add_refused(ledger, group, at, usages) if usages else usages
    if not usages:
        return []
    sums, rest = ledger.waiting.usages[group], []
    for usage in usages:
        labels = usage.app_id, usage.provider, usage.model
        entry = sums.get(labels)
        if entry is None:
            if not _can_wait(ledger, usage):
                rest.append(usage)
                continue
            entry = sums[labels] = _new_sum()
        entry[0] += usage.input_tokens or 0
        entry[1] += usage.output_tokens or 0
        entry[2] += usage.unsplit_tokens or 0
        entry[3] += usage.cost or 0
        entry[4] += usage.count
    _note_time(ledger, group, at)
    return rest


def _add_refused(ledger: SourceLedger, group: UsageGroup, at: int, usages: Sequence[b.Usage]) -> Sequence[b.Usage]:
    """Add the usages whose open labels are refused to one sum, and their unpriced tokens to one per model.

    No series of tokens or costs has their labels, and none ever will. Returns the other usages.
    """
    series, source, has_cost = ledger.series, ledger.source, group.cost is not type(None)
    if not series.is_full(c.TOKENS_USED) or (has_cost and not series.is_full(c.COST)):
        return usages
    if group.quarter is not None and not has_cost:  # these usages have a price
        return usages
    columns = columns_of(usages, _LABELS)
    labels = list(zip(*columns, strict=True))
    known = series.label_sets(source, (c.TOKENS_USED, c.COST), len(_LABELS))
    keeps = keep_labels(known, labels, columns, _LABELS, series)
    if ledger.budgets.has_filters:
        keeps = [each or ledger.budgets.filters(source, *names) for each, names in zip(keeps, labels, strict=True)]
    is_unpriced = not has_cost and group.has_tokens
    targets: Sequence[Any] = ()
    if not has_cost:
        targets = targets_of(series, source, c.UNPRICED_TOKENS, columns[1:])
        if not series.is_full(c.UNPRICED_TOKENS):
            models = {names[1:] for names in labels}
            added = {each for each in models if not series.adds_no_series(c.UNPRICED_TOKENS, (source, *each))}
            keeps = [each or names[1:] in added for each, names in zip(keeps, labels, strict=True)]
    if False not in keeps:
        return usages
    others: Sequence[b.Usage] = ()
    if True in keeps:
        others, refused = list(compress(usages, keeps)), list(map(not_, keeps))
        usages, targets = list(compress(usages, refused)), list(compress(targets, refused))
    folded = group._replace(refused=True)
    _note_time(ledger, folded, at)
    _add_columns(ledger.waiting.usages[folded].setdefault(_REFUSED, _new_sum()), usages)
    if is_unpriced:
        _add_unpriced(ledger.waiting, targets, usages)
    return others


def _add_unpriced(sums: Sums, targets: Sequence[Any], usages: Sequence[b.Usage]) -> None:
    """Add the tokens of usages and the number of usages to the sums that are their targets."""
    if targets.count(targets[0]) == len(targets):
        _add_columns(found := _new_sum(), usages)
        sums.count(c.UNPRICED_TOKENS, targets[0], sum(found[:3]), found[4])
        return
    for target, usage in zip(targets, usages, strict=True):
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) + (usage.unsplit_tokens or 0)
        sums.count(c.UNPRICED_TOKENS, target, tokens, usage.count)


def _note_time(ledger: SourceLedger, group: UsageGroup, at: int) -> None:
    at = event_time(ledger, at)
    ledger.waiting.times[group] = min(at, ledger.waiting.times.get(group, at))


def _new_sum() -> UsageSum:
    return [0, 0, 0, Decimal(), 0]


def _add_columns(entry: UsageSum, usages: Sequence[b.Usage]) -> None:
    names = ("input_tokens", "output_tokens", "unsplit_tokens", "cost", "count")
    for number, name in enumerate(names):
        if getattr(usages[0], name) is not None:
            entry[number] += sum(map(attrgetter(name), usages))


def _can_wait(ledger: SourceLedger, usage: b.Usage) -> bool:
    """Whether no usage with these labels can add a series."""
    series, labels = ledger.series, (ledger.source, usage.app_id, usage.provider, usage.model)
    tokens = {"input": usage.input_tokens, "output": usage.output_tokens, "unsplit": usage.unsplit_tokens}
    if not all(series.adds_no_series(c.TOKENS_USED, (*labels, name)) for name in tokens if tokens[name] is not None):
        return False
    if usage.cost is not None:
        return series.adds_no_series(c.COST, (*labels, usage.currency, "reported"))
    price = ledger.prices.find(usage, event_time(ledger, usage.at))
    if price is None:
        return series.adds_no_series(c.UNPRICED_TOKENS, (ledger.source, usage.provider, usage.model))
    is_priced = price.cost(usage) is not None
    return is_priced and series.adds_no_series(c.COST, (*labels, price.currency, "price_list"))
