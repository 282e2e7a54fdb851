"""Telemetry events added up, so that many have the records of few.

Events that cannot be added to others, or to anything, are read the plain way one by one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import structs

from parsers.batch import FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.dify import telemetry
from parsers.dify.spending import UNPRICED, calls_of, total
from parsers.values.currencies import currency_of
from parsers.values.numbers import SECOND

#: What a usage is told by.
_SPENDER = attrgetter("app_id", "provider", "model", "currency", "cost_currency")

_Seconds = list[float | None]
_Timed = NodeRun | Run | FirstToken


class Sums:
    """What events tell, added up: seconds by what names them, tokens and money by what a Usage names.

    A method for a kind of event takes those of a quarter of an hour.
    """

    def __init__(self) -> None:
        self._nodes = defaultdict[NodeRun, _Seconds](list)
        self._runs = defaultdict[tuple[str, str], defaultdict[str | None, _Seconds]](lambda: defaultdict(list))
        self._first_tokens = defaultdict[tuple[str | None, str | None], _Seconds](list)
        self._usages = defaultdict[tuple[Any, ...], defaultdict[Any, list[Any]]](lambda: defaultdict(_zero))
        self._records = list[Record]()

    def nodes(self, events: Sequence[Any], at: int) -> None:
        for (node_type, status), nodes in apart(events, attrgetter("node_type", "status")):
            run = NodeRun(telemetry.node_type_of(node_type), telemetry.status_of(status))
            calls, others = nodes, list[Any]()
            if not telemetry.spends(run.node_type, None):
                others = [node for node in nodes if not telemetry.spends(run.node_type, node.model)]
                calls = [node for node in nodes if telemetry.spends(run.node_type, node.model)]
            calls = self._spent(calls, at, owed=telemetry.owes(run.node_type, run.status))
            self._nodes[run] += [node.duration for node in (*others, *calls)]

    def messages(self, events: Sequence[Any], at: int) -> None:
        for (mode, status), messages in apart(events, attrgetter("mode", "status")):
            of_workflows = [message for message in messages if message.workflow_run]
            own = self._spent([message for message in messages if not message.workflow_run], at)
            runs = self._runs[telemetry.run_kind_of(mode), telemetry.status_of(status)]
            for message in own:
                runs[message.app_id].append(message.duration)
            for message in (*of_workflows, *own):
                if message.first_token is not None:
                    self._first_tokens[message.app_id, message.model].append(message.first_token)

    def workflows(self, events: Sequence[Any], _: int) -> None:
        for status, runs in apart(events, attrgetter("status")):
            own, in_chat = (self._runs[kind, telemetry.status_of(status)] for kind in ("workflow", "advanced-chat"))
            for run in runs:
                (in_chat if run.conversation or run.message else own)[run.app_id].append(run.duration)

    def prompts(self, events: Sequence[Any], at: int) -> None:
        self._spent([event for event in events if not telemetry.is_told_elsewhere(event.operation)], at)

    def suggested_questions(self, events: Sequence[Any], at: int) -> None:
        self._spent(events, at)

    def _spent(self, events: Sequence[Any], at: int, *, owed: bool = False) -> Sequence[Any]:
        """Adds the usage of events; gives those of which it could. The others are read the plain way, whole."""
        calls = calls_of(events) if events else None
        if calls is None:
            return self._spent_in_parts(events, at, owed)
        if calls.given:
            usages, labels = self._usages[at, calls.split, type(calls.costs[0])], map(_SPENDER, events)
            for key, given, produced, cost in zip(labels, calls.given, calls.produced, calls.costs, strict=True):
                usage = usages[key]
                usage[0] += given
                usage[1] += produced
                usage[2].append(cost)
        elif owed:
            self._records += [UsageMissing(telemetry.app_id_of(event.app_id), "absent") for event in events]
        return events

    def _spent_in_parts(self, events: Sequence[Any], at: int, owed: bool) -> Sequence[Any]:
        if len(events) < 2:
            for event in events:
                self._records += telemetry.records_of(msgspec.to_builtins(event), at)
            return ()
        parts = [part for _, part in apart(events, _told)]
        if len(parts) == 1:
            parts = [[event] for event in events]
        return [event for part in parts for event in self._spent(part, at, owed=owed)]

    def records(self) -> list[Record]:
        for (at, split, _), usages in self._usages.items():
            self._records += [_usage(labels, sums, split, at) for labels, sums in usages.items()]
        self._records += [_timed(run, seconds) for run, seconds in self._nodes.items() if seconds]
        for (kind, status), by_app in self._runs.items():
            for app_id, seconds in by_app.items():
                self._records.append(_timed(Run(kind, telemetry.app_id_of(app_id), status), seconds))
        for (app_id, model), seconds in self._first_tokens.items():
            first = FirstToken(telemetry.app_id_of(app_id), telemetry.name_of(model))
            self._records.append(_timed(first, seconds))
        return self._records


def _told(event: Any) -> tuple[bool, ...]:
    """Which amounts are told."""
    amounts = event.given, event.produced, event.total, event.price
    return (*(amount is None for amount in amounts), event.usage == UNPRICED)


def _usage(labels: Sequence[str | None], sums: Sequence[Any], split: bool, at: int) -> Usage:
    app_id, provider, model, currency, cost_currency = labels
    given, produced, costs = sums
    tokens = {"input_tokens": given, "output_tokens": produced} if split else {"unsplit_tokens": given}
    return Usage(
        telemetry.app_id_of(app_id),
        telemetry.name_of(provider),
        telemetry.name_of(model),
        **tokens,
        cost=None if costs[0] is None else total(costs),
        currency=currency_of(currency or cost_currency),
        at=at,
        count=len(costs),
    )


def _timed(record: _Timed, seconds: _Seconds) -> _Timed:
    """The record with these durations: sorted faster here than in nanoseconds, and where it is needed sorted."""
    known = sorted([each for each in seconds if each is not None])
    return structs.replace(record, count=len(seconds), durations=tuple([round(each * SECOND) for each in known]))


def _zero() -> list[Any]:
    """No tokens given, none produced, no costs."""
    return [0, 0, []]


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
