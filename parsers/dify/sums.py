"""Sum up telemetry events by the rules of their table, so that many events give few records."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import Any

from parsers.batch import LONG_PROMPT, UNKNOWN, FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.dify.labels import app_id_of, app_ids_of, name_of, names_of
from parsers.dify.spending import CallColumns, columns_of_calls, decimals, price_of, total
from parsers.dify.telemetry import NO_PRICE, CountRule, EventFacts, TelemetryEvent
from parsers.dify.tokens import TokenCounts
from parsers.dropped import dropped, dropped_values
from parsers.values.currencies import currency_of
from parsers.values.numbers import SECOND, money

_GROUP = attrgetter("subject", "status")

#: Beyond this number of keys, a part of a block may be diverse.
_MANY_KEYS = 256

#: [input tokens, output tokens, prices] by the labels of a usage.
UsageSums = dict[Any, list[Any]]

#: Gives the label of each value of a column.
LabelsOf = Callable[[Collection[Any]], Iterable[str]]

_TimedRecord = NodeRun | Run | FirstToken
_FIRST_TOKEN = FirstToken(UNKNOWN, UNKNOWN)


class EventSums:
    """Sums of durations per record, and of tokens and money per label set of a usage.

    With `strict` the events come from a block, so their types are known and they are summed up in columns.

    `owner` is the field of an event that names the app of its usage, and `owner_of` gives the label of its value. Both
    differ for events that name only the span whose app they have.
    """

    def __init__(self, strict: bool, owner: str = "app_id", owner_of: Callable[[Any], str] = app_id_of) -> None:
        self._strict = strict
        self._owner, self._owner_of = attrgetter(owner), owner_of
        self._owners_of: LabelsOf = app_ids_of if owner_of is app_id_of else partial(map, owner_of)
        self._first_token_labels = attrgetter(owner, "model")
        self._usage_labels = attrgetter(owner, "provider", "model", "currency", "cost_currency")
        #: Durations in seconds by record, and per record by the labels that it takes from its event.
        self._timed: defaultdict[_TimedRecord, defaultdict[Any, list[float | None]]] = defaultdict(
            lambda: defaultdict(list)
        )
        #: By time and kind of amounts.
        self._usages: defaultdict[tuple[Any, ...], UsageSums] = defaultdict(dict)
        #: Records of single events, by the keys of `_timed` and `_usages`.
        self._single: defaultdict[Any, list[Record]] = defaultdict(list)
        self._records: list[Record] = []

    def add(self, kind: type[TelemetryEvent], events: Sequence[Any], at: int | None) -> None:
        """Add events of one kind.

        `at` is their time in nanoseconds since the epoch; for a block it is the begin of its quarter of an hour.
        """
        can_be_inside = kind.inside is not TelemetryEvent.inside
        by_rule = defaultdict[CountRule, list[Any]](list)  # most of many subjects or statuses count the same
        for (subject, status), members in grouped(events, _GROUP):
            inside = [event for event in members if event.inside or event.inside_message] if can_be_inside else ()
            own = [event for event in members if not (event.inside or event.inside_message)] if inside else members
            for part, is_inside in ((own, False), (inside, True)):
                if part:
                    by_rule[kind.counts(EventFacts(subject, status, is_inside))] += part
        for rule, part in by_rule.items():
            self._count(part, rule, at)

    def _count(self, events: Sequence[Any], counts: CountRule, at: int | None) -> None:
        if counts.first_token:
            known = [event for event in events if event.first_token is not None]
            keys = list(map(self._first_token_labels, known))
            self._add_durations(_FIRST_TOKEN, keys, [event.first_token for event in known])
        if isinstance(counts.run, NodeRun):
            self._timed[counts.run][None] += [event.duration for event in events]
        elif counts.run:
            self._add_durations(counts.run, [event.app_id for event in events], [event.duration for event in events])
        if counts.needs_model:
            events = [event for event in events if name_of(event.model) != UNKNOWN]
        if counts.has_usage and events:
            self._add_usages(events, counts, at)

    def _add_durations(self, record: _TimedRecord, keys: Sequence[Any], seconds: Sequence[float | None]) -> None:
        """Add durations by the labels that the record takes from its event."""
        groups = self._timed[record]
        if keys and is_diverse(keys):
            durations = [None if each is None else round(each * SECOND) for each in seconds]
            self._single[record] += _timed(record, keys, (durations, repeat(1), repeat(())), self._owners_of)
            return
        for key, each in zip(keys, seconds, strict=True):
            groups[key].append(each)

    def _add_usages(self, events: Sequence[Any], counts: CountRule, at: int | None) -> None:
        """Add the usages of events in columns; if impossible, split them by known amounts; else add each alone.

        Usages with a long prompt and without a price are always added alone.
        """
        if not self._strict:
            for event in events:
                self._add_usage(event, counts, at)
            return
        if calls := columns_of_calls(events):
            self._add_columns(events, calls, counts, at)
            return
        parts = [part for _, part in grouped(events, _known_amounts)]
        if len(parts) == 1 and _known_amounts(events[0]) == _NO_AMOUNTS and not counts.needs_usage:
            return
        for part in parts if len(parts) > 1 else ():
            self._add_usages(part, counts, at)
        for event in events if len(parts) == 1 else ():
            self._add_usage(event, counts, at)

    def _add_columns(self, events: Sequence[Any], calls: CallColumns, counts: CountRule, at: int | None) -> None:
        if calls.costs[0] is None and max(calls.input_tokens) > LONG_PROMPT:
            by_length = defaultdict[bool, list[Any]](list)
            for event, tokens in zip(events, calls.input_tokens, strict=True):
                by_length[tokens > LONG_PROMPT].append(event)
            for event in by_length[True]:
                self._add_usage(event, counts, at)
            if by_length[False]:
                self._add_usages(by_length[False], counts, at)
            return
        amounts = at, calls.is_split, type(calls.costs[0])
        usages, keys = self._usages[amounts], list(map(self._usage_labels, events))
        if is_diverse(keys):
            self._single[amounts] += usages_of(keys, calls, repeat(1), at, self._owners_of)
            return
        add_calls(usages, keys, calls)

    def _add_usage(self, event: Any, counts: CountRule, at: int | None) -> None:
        found = TokenCounts(event.input_tokens, event.output_tokens, event.total_tokens)
        price = price_of(event)
        tokens, cost = found.split, money(price)
        self._records += [*dropped_values("tokens", found.invalid), *dropped("price", price, cost)]
        if any(tokens) or cost:
            model = name_of(event.provider), name_of(event.model)
            currency = event.currency or event.cost_currency or event.usage_currency or event.usage.currency
            owner = self._owner_of(self._owner(event))
            is_call = counts.is_call and cost is None and (tokens[0] or 0) > LONG_PROMPT  # it matters only then
            self._records.append(Usage(owner, *model, *tokens, cost, currency_of(currency), at, is_call=is_call))
        if counts.needs_usage and (reason := found.missing):
            self._records.append(UsageMissing(self._owner_of(self._owner(event)), reason))

    def records(self) -> list[Record]:
        found: list[Record] = []
        # The order of records becomes the order of series: the most frequent nodes come first, whatever their order.
        by_count = sorted(self._timed.items(), key=lambda item: -len(item[1].get(None, ())))
        for record, groups in by_count:
            found += self._single.get(record, ())
            if groups:
                durations = zip(*map(_durations, groups.values()), strict=True)
                found += _timed(record, groups.keys(), durations, self._owners_of)
        for amounts, usages in self._usages.items():
            found += self._single.get(amounts, ())
            if usages:
                at, is_split, _ = amounts
                found += summed_usages(usages, is_split, at, self._owners_of)
        return found + self._records


#: What `_known_amounts` returns for an event without usage.
_NO_AMOUNTS = (True, True, True, True, True)


def _known_amounts(event: Any) -> tuple[bool, ...]:
    return (
        event.input_tokens is None,
        event.output_tokens is None,
        event.total_tokens is None,
        event.price is None,
        event.usage == NO_PRICE,
    )


def is_diverse(keys: Sequence[Any]) -> bool:
    """Return whether keys are many and most of them occur once. Then a record for each event costs less than to sum
    them up. A few keys are summed up, because they occur again in the next part of the block.
    """
    return len(keys) > _MANY_KEYS and len(set(keys)) > max(_MANY_KEYS, len(keys) // 2)


def add_calls(sums: UsageSums, keys: Iterable[Any], calls: CallColumns) -> None:
    """Add calls to the sums of their keys."""
    for key, input_tokens, output_tokens, cost in zip(
        keys, calls.input_tokens, calls.output_tokens, calls.costs, strict=True
    ):
        if (usage := sums.get(key)) is None:
            sums[key] = [input_tokens, output_tokens, [cost]]
            continue
        usage[0] += input_tokens
        usage[1] += output_tokens
        usage[2].append(cost)


def summed_usages(sums: UsageSums, is_split: bool, at: int | None, owners_of: LabelsOf = app_ids_of) -> Iterator[Usage]:
    """Return a record for each sum. `owners_of` gives the labels of the first column of the keys."""
    inputs, outputs, costs = zip(*sums.values(), strict=True)
    calls = CallColumns(list(map(total, costs)), inputs, outputs, is_split)
    return usages_of(sums.keys(), calls, map(len, costs), at, owners_of)


def usages_of(
    keys: Collection[Any],
    calls: CallColumns,
    counts: Iterable[int],
    at: int | None,
    owners_of: LabelsOf = app_ids_of,
) -> Iterator[Usage]:
    """Return a record for each entry of the columns. `keys` are the labels, `counts` the numbers of calls."""
    owners, providers, models, currencies, cost_currencies = zip(*keys, strict=True)
    codes = [code or cost_code for code, cost_code in zip(currencies, cost_currencies, strict=True)]
    labels = {code: currency_of(code) for code in set(codes)}
    unknown = repeat(None)
    return map(
        Usage,
        owners_of(owners),
        names_of(providers),
        names_of(models),
        calls.input_tokens if calls.is_split else unknown,
        calls.output_tokens if calls.is_split else unknown,
        unknown if calls.is_split else calls.input_tokens,
        decimals(calls.costs),
        map(labels.__getitem__, codes),
        repeat(at),
        counts,
    )


def _timed(
    record: _TimedRecord, keys: Collection[Any], timed: Iterable[Iterable[Any]], owners_of: LabelsOf
) -> Iterator[_TimedRecord]:
    """Return a record for each key, with its labels. `timed` are the columns duration, count and durations."""
    if isinstance(record, NodeRun):
        return map(NodeRun, repeat(record.node_type), repeat(record.status), *timed)
    if isinstance(record, Run):
        return map(Run, repeat(record.kind), app_ids_of(keys), repeat(record.status), *timed)
    owners, models = zip(*keys, strict=True)
    return map(FirstToken, owners_of(owners), names_of(models), *timed)


def _durations(seconds: Sequence[float | None]) -> tuple[int | None, int, tuple[int, ...]]:
    """Return a single duration, the number of durations, and many, sorted. Floats sort faster than nanoseconds."""
    if len(seconds) == 1:
        return None if seconds[0] is None else round(seconds[0] * SECOND), 1, ()
    known = sorted([each for each in seconds if each is not None])
    return None, len(seconds), tuple([round(each * SECOND) for each in known])


def grouped(events: Sequence[Any], key: Callable[[Any], Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    keys = list(map(key, events))
    if keys.count(keys[0]) == len(keys):
        yield keys[0], events
        return
    groups = defaultdict[Any, list[Any]](list)
    for each, event in zip(keys, events, strict=True):
        groups[each].append(event)
    yield from groups.items()
