"""Telemetry events added up by the rules of their table, so that many have the records of few."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from msgspec import structs

from parsers.batch import UNKNOWN, FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.dify.spending import calls_of, price_of, total
from parsers.dify.telemetry import UNPRICED, Counts, Event, Facts, app_id_of, name_of
from parsers.dify.tokens import TokenCounts
from parsers.dropped import dropped, dropped_values
from parsers.values.currencies import currency_of
from parsers.values.numbers import SECOND, money

_GROUP = attrgetter("subject", "status")

#: What names a usage.
_SPENDER = attrgetter("app_id", "provider", "model", "currency", "cost_currency")

_Timed = NodeRun | Run | FirstToken
_FIRST_TOKEN = FirstToken(UNKNOWN, UNKNOWN)


class Sums:
    """Durations by the record that they belong to, tokens and money by what names a usage.

    Only events of a block (`strict`), whose types are known, are added up in columns.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        #: Seconds by record, and within it by what it takes from its event.
        self._timed: defaultdict[_Timed, defaultdict[Any, list[float | None]]] = defaultdict(_lists)
        #: Input and output tokens and prices, by what they have in common, and within it by what names them.
        self._usages: defaultdict[tuple[Any, ...], dict[Any, list[Any]]] = defaultdict(dict)
        self._records: list[Record] = []

    def add(self, kind: type[Event], events: Sequence[Any], at: int | None) -> None:
        """Adds events of one kind. `at` is their time, or of a block the first nanosecond of its quarter of an hour."""
        can_be_inside = kind.inside is not Event.inside
        for (subject, status), members in apart(events, _GROUP):
            inside = [event for event in members if event.inside or event.inside_message] if can_be_inside else ()
            own = [event for event in members if not (event.inside or event.inside_message)] if inside else members
            for part, is_inside in ((own, False), (inside, True)):
                if part:
                    self._count(part, kind.counts(Facts(subject, status, is_inside)), at)

    def _count(self, events: Sequence[Any], counts: Counts, at: int | None) -> None:
        if counts.first_token:
            by_model = self._timed[_FIRST_TOKEN]
            for event in events:
                if event.first_token is not None:
                    by_model[event.app_id, event.model].append(event.first_token)
        if isinstance(counts.run, NodeRun):
            self._timed[counts.run][None] += [event.duration for event in events]
        elif counts.run:
            by_app = self._timed[counts.run]
            for event in events:
                by_app[event.app_id].append(event.duration)
        if counts.needs_model:
            events = [event for event in events if name_of(event.model) != UNKNOWN]
        if counts.spends and events:
            self._spend(events, counts.owes, at)

    def _spend(self, events: Sequence[Any], owes: bool, at: int | None) -> None:
        """Adds the usage of events in columns, else of those that know the same amounts, else of each alone."""
        if not self._strict:
            for event in events:
                self._spend_alone(event, owes, at)
            return
        if calls := calls_of(events):
            usages, labels = self._usages[at, calls.split, type(calls.costs[0])], map(_SPENDER, events)
            for key, given, produced, cost in zip(labels, calls.given, calls.produced, calls.costs, strict=True):
                if (usage := usages.get(key)) is None:
                    usages[key] = [given, produced, [cost]]
                    continue
                usage[0] += given
                usage[1] += produced
                usage[2].append(cost)
            return
        parts = [part for _, part in apart(events, _amounts)]
        for part in parts if len(parts) > 1 else ():
            self._spend(part, owes, at)
        for event in events if len(parts) == 1 else ():
            self._spend_alone(event, owes, at)

    def _spend_alone(self, event: Any, owes: bool, at: int | None) -> None:
        told = TokenCounts(event.given, event.produced, event.total)
        price = price_of(event)
        tokens, cost = told.split, money(price)
        self._records += [*dropped_values("tokens", told.unread), *dropped("price", price, cost)]
        if any(tokens) or cost:
            model = name_of(event.provider), name_of(event.model)
            currency = event.currency or event.cost_currency or event.usage_currency or event.usage.currency
            self._records.append(Usage(app_id_of(event.app_id), *model, *tokens, cost, currency_of(currency), at))
        if owes and (reason := told.missing):
            self._records.append(UsageMissing(app_id_of(event.app_id), reason))

    def records(self) -> list[Record]:
        found: list[Record] = []
        # The order of records becomes that of series: the most frequent nodes first, whatever came first in the block.
        by_count = sorted(self._timed.items(), key=lambda item: -len(item[1].get(None, ())))
        for record, groups in by_count:
            found += [_timed(record, key, seconds) for key, seconds in groups.items()]
        for (at, split, _), usages in self._usages.items():
            found += [_usage(labels, sums, split, at) for labels, sums in usages.items()]
        return found + self._records


def _lists() -> defaultdict[Any, list[Any]]:
    return defaultdict(list)


def _amounts(event: Any) -> tuple[bool, ...]:
    """Which amounts are known."""
    amounts = event.given, event.produced, event.total, event.price
    return (*(amount is None for amount in amounts), event.usage == UNPRICED)


def _usage(labels: Sequence[str | None], sums: Sequence[Any], split: bool, at: int | None) -> Usage:
    app_id, provider, model, currency, cost_currency = labels
    given, produced, costs = sums
    return Usage(
        app_id_of(app_id),
        name_of(provider),
        name_of(model),
        given if split else None,
        produced if split else None,
        None if split else given,
        None if costs[0] is None else total(costs),
        currency_of(currency or cost_currency),
        at,
        len(costs),
    )


def _timed(record: _Timed, key: Any, seconds: Sequence[float | None]) -> _Timed:
    """The record with these durations: sorted faster here than in nanoseconds, and where it is needed sorted."""
    known = [round(each * SECOND) for each in sorted([each for each in seconds if each is not None])]
    timed: dict[str, Any] = {"count": len(seconds), "durations": tuple(known)}
    if len(seconds) == 1:
        timed = {"duration": known[0] if known else None}
    if isinstance(record, Run):
        timed["app_id"] = app_id_of(key)
    elif isinstance(record, FirstToken):
        timed |= {"app_id": app_id_of(key[0]), "model": name_of(key[1])}
    return structs.replace(record, **timed)


def apart(events: Sequence[Any], key: Callable[[Any], Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """The events of each key."""
    keys = list(map(key, events))
    if keys.count(keys[0]) == len(keys):
        yield keys[0], events
        return
    groups = defaultdict[Any, list[Any]](list)
    for each, event in zip(keys, events, strict=True):
        groups[each].append(event)
    yield from groups.items()
