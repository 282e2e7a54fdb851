"""Sum up telemetry events by the rules of their table, so that many events give few records."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

from parsers.batch import UNKNOWN, FirstToken, NodeRun, Record, Run
from parsers.dify.labels import app_ids_of, name_of, names_of
from parsers.dify.telemetry import NO_PRICE, CountRule, EventFacts, TelemetryEvent
from parsers.dify.usages import KEY_FIELDS, LabelsOf, UsageSums, grouped, is_diverse
from parsers.values.numbers import SECOND

_GROUP = attrgetter("subject", "status")

_TimedRecord = NodeRun | Run | FirstToken
FIRST_TOKEN = FirstToken(UNKNOWN, UNKNOWN)


class DurationSums:
    """Durations by the record that they belong to, and by the labels that the record takes from its event."""

    def __init__(self, owners_of: LabelsOf = app_ids_of) -> None:
        self._owners_of = owners_of
        #: Durations in seconds.
        self._groups: defaultdict[_TimedRecord, defaultdict[Any, list[float | None]]]
        self._groups = defaultdict(lambda: defaultdict(list))
        self._records: list[Record] = []

    def add(self, record: _TimedRecord, keys: Sequence[Any], seconds: Sequence[float | None]) -> None:
        """Add durations. Of a node, no label is taken from its event."""
        groups = self._groups[record]
        if isinstance(record, NodeRun):
            groups[None] += seconds
        elif is_diverse(keys):
            durations = [None if each is None else round(each * SECOND) for each in seconds]
            self._records += _timed(record, keys, (durations, repeat(1), repeat(())), self._owners_of)
        else:
            for key, each in zip(keys, seconds, strict=True):
                groups[key].append(each)

    def records(self) -> list[Record]:
        found: list[Record] = []
        # The order of records becomes the order of series: the most frequent nodes come first, whatever their order.
        by_count = sorted(self._groups.items(), key=lambda item: -len(item[1].get(None, ())))
        for record, groups in by_count:
            if groups:
                durations = zip(*map(_durations, groups.values()), strict=True)
                found += _timed(record, groups.keys(), durations, self._owners_of)
        return found + self._records


class EventSums:
    """Sums of durations, tokens and money. With `strict` the events come from a block, so their types are known.

    `owner` is the field of an event that names the app of its usage, and `owners_of` gives the labels of its values.
    Both differ for events that name only the span whose app they have.
    """

    def __init__(self, strict: bool, owner: str = "app_id", owners_of: LabelsOf = app_ids_of) -> None:
        self._strict = strict
        self._durations, self._usages = DurationSums(owners_of), UsageSums(strict, owners_of)
        self._first_token_key = attrgetter(owner, "model")
        self._usage_key = attrgetter(owner, *KEY_FIELDS)

    def add_lines(self, lines: Sequence[Any], quarter: int) -> None:
        """Add the events of lines of one quarter of an hour. `quarter` is its first nanosecond since the epoch."""
        for kind, events in grouped([line.attributes for line in lines], type):
            self.add(kind, events, quarter)

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

    def _count(self, events: Sequence[Any], rule: CountRule, at: int | None) -> None:
        if rule.first_token:
            known = [event for event in events if event.first_token is not None]
            keys = list(map(self._first_token_key, known))
            self._durations.add(FIRST_TOKEN, keys, [event.first_token for event in known])
        if rule.run:
            apps = () if isinstance(rule.run, NodeRun) else [event.app_id for event in events]
            self._durations.add(rule.run, apps, [event.duration for event in events])
        if rule.needs_model:
            events = [event for event in events if name_of(event.model) != UNKNOWN]
        if self._strict and rule.has_usage and not rule.needs_usage:
            # Without a call per event. In a block, wrong values that would have to be reported do not occur.
            events = [
                event
                for event in events
                if event.total_tokens
                or event.input_tokens
                or event.output_tokens
                or event.price is not None
                or event.usage != NO_PRICE
            ]
        if rule.has_usage and events:
            self._usages.add(list(map(self._usage_key, events)), events, at, rule)

    def records(self) -> list[Record]:
        return self._durations.records() + self._usages.records()


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
