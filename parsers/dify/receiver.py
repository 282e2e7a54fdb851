"""Read the lines of our receiver (`parsers.tracing.line`), in the envelope and with the names of Dify's telemetry.

A line without a status has the tokens of a run that another line counts, or only the app of a span. The app of a node
may be that of another span, whose line comes earlier or later: the ledger joins them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import field, structs

from parsers import batch as b
from parsers.blocks import TimedLine
from parsers.dify.error_body import KINDS as CAUSES
from parsers.dify.events import EventReader
from parsers.dify.labels import app_id_of, node_type_of, status_of
from parsers.dify.sums import EventSums
from parsers.dify.telemetry import (
    CALLING_MODES,
    CALLING_NODES,
    CountRule,
    EventFacts,
    Price,
    Seconds,
    TelemetryEvent,
    Text,
)
from parsers.values.numbers import token_count

SERVICE = "dify-exporter-receive"
HEARTBEAT = "dify.receiver.heartbeat"
#: The status of a run whose span does not report its outcome.
FINISHED = "finished"

#: The kinds of failures that the lines may name.
KINDS = CAUSES | {"node_failed", "run_failed"}

#: The largest length of the id of a span with that of its trace.
_ID_LENGTH = 64


class ReceivedEvent(TelemetryEvent, frozen=True, gc=False):
    """The attributes of all lines. `span` and `parent` are ids of spans, each with that of its trace."""

    first_token: Seconds = field(default=None, name="gen_ai.server.time_to_first_token")
    error: Text = field(default=None, name="dify.error.kind")
    own_span: Text = field(default=None, name="dify.span.self")
    parent: Text = field(default=None, name="dify.span.parent")


class ReceivedNode(ReceivedEvent, frozen=True, gc=False, tag="dify.node.execution"):
    subject: Text = field(default=None, name="dify.node.type")
    status: Text = field(default=None, name="dify.node.status")
    duration: Seconds = field(default=None, name="dify.node.elapsed_time")
    price: Price = field(default=None, name="dify.node.total_price")
    currency: Text = field(default=None, name="dify.node.currency")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        """The nodes inside an iteration or loop report its usage, and so does a workflow inside a tool."""
        node_type, status = node_type_of(facts.subject), status_of(facts.status)
        return CountRule(
            b.NodeRun(node_type, status) if facts.status is not None else None,
            first_token=True,
            has_usage=node_type not in ("iteration", "loop"),
            needs_usage=node_type == "llm" and status == "succeeded",
            is_call=node_type in CALLING_NODES,
        )


class ReceivedMessage(ReceivedEvent, frozen=True, gc=False, tag="dify.message.run"):
    subject: Text = field(default=None, name="dify.conversation.mode")
    status: Text = field(default=None, name="dify.message.status")
    duration: Seconds = field(default=None, name="dify.message.duration")
    price: Price = field(default=None, name="dify.message.total_price")
    currency: Text = field(default=None, name="dify.message.currency")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        return CountRule(_run(facts), first_token=True, has_usage=True, is_call=facts.subject in CALLING_MODES)


class ReceivedWorkflow(ReceivedEvent, frozen=True, gc=False, tag="dify.workflow.run"):
    subject: Text = field(default=None, name="dify.app.mode")
    status: Text = field(default=None, name="dify.workflow.status")
    duration: Seconds = field(default=None, name="dify.workflow.elapsed_time")

    @staticmethod
    def counts(facts: EventFacts) -> CountRule:
        return CountRule(_run(facts))


def _run(facts: EventFacts) -> b.Run | None:
    if facts.status is None:
        return None
    status = FINISHED if facts.status == FINISHED else status_of(facts.status)
    return b.Run(facts.subject if facts.subject in b.RUN_KINDS else b.UNKNOWN, b.UNKNOWN, status)


class ReceivedHeartbeat(TelemetryEvent, frozen=True, gc=False, tag=HEARTBEAT):
    """The numbers of items since the heartbeat before."""

    items: None = field(default=None, name="dify.receiver.items")


TABLE = (ReceivedNode, ReceivedMessage, ReceivedWorkflow, ReceivedHeartbeat)


class _ReceivedLine(TimedLine, frozen=True, gc=False, kw_only=True):
    """The message is the event, so that it cannot be one of telemetry, which the reader of single lines prefers."""

    service: Literal["dify-exporter-receive"]
    message: Literal["dify.node.execution", "dify.message.run", "dify.workflow.run"]


class ReceivedSums(EventSums):
    """The sums of events, and what joins a node to the span that knows its app."""

    def __init__(self, strict: bool) -> None:
        super().__init__(strict)
        self._failures: Counter[str] = Counter()
        self._joined: list[b.Record] = []

    def add(self, kind: type[TelemetryEvent], events: Sequence[Any], at: int | None) -> None:
        if kind is ReceivedHeartbeat:
            self._joined += _received(events[0].items)
            return
        self._failures.update([event.error for event in events if event.error in KINDS])
        parents = [event.parent for event in events]
        has_parents = parents.count(None) < len(parents)
        if has_parents or any(event.own_span for event in events):
            self._joined += [span for event in events if (span := _span_app(event, at)) is not None]
        if not has_parents:
            super().add(kind, events, at)
            return
        own = [event for event in events if not _awaits_app(event)]
        if own:
            super().add(kind, own, at)
        if len(own) < len(events):
            sums = EventSums(self._strict, "parent", _spans_of)
            sums.add(kind, [each for each in events if _awaits_app(each)], at)
            self._joined += [_of_span(record, at) for record in sums.records()]

    def records(self) -> list[b.Record]:
        failures = [b.Failure(kind, count) for kind, count in self._failures.items()]
        return [*super().records(), *failures, *self._joined]


def _awaits_app(event: ReceivedEvent) -> bool:
    return event.app_id is None and event.own_span is None and bool(event.parent)


def _spans_of(parents: Iterable[str]) -> list[str]:
    return [parent[:_ID_LENGTH] for parent in parents]


def _of_span(record: b.Record, at: int | None) -> b.Record:
    """Return a record that has a span for its app as one that waits for the app of this span."""
    if isinstance(record, b.Usage | b.FirstToken | b.UsageMissing):
        return b.OfSpan(record.app_id, structs.replace(record, app_id=b.UNKNOWN), at)
    return record


def _span_app(event: ReceivedEvent, at: int | None) -> b.SpanApp | None:
    """Return what the line says about the app of its own span or, if it has none, about that of its parent."""
    app_id, parent = app_id_of(event.app_id), (event.parent or "")[:_ID_LENGTH]
    if event.own_span:
        return b.SpanApp(event.own_span[:_ID_LENGTH], app_id, "" if app_id != b.UNKNOWN else parent, at)
    return b.SpanApp(parent, app_id, "", at) if parent and app_id != b.UNKNOWN else None


def _received(items: object) -> Sequence[b.ReceivedItems]:
    """Return the numbers of items in a heartbeat."""
    if not isinstance(items, list):
        return ()
    found = [each for item in items if isinstance(item, dict) and (each := _item(item)) is not None]
    # The counter must exist before the first item, or no alert sees a receiver that never gets one.
    has_written = any(each.outcome == "written" for each in found)
    return found if has_written else [*found, b.ReceivedItems("none", "written", 0)]


def _item(item: dict[str, Any]) -> b.ReceivedItems | None:
    dialect, outcome, count = item.get("dialect"), item.get("outcome"), token_count(item.get("count"))
    is_known = dialect in b.TRACING_DIALECTS and outcome in b.TRACING_OUTCOMES and count
    return b.ReceivedItems(str(dialect), str(outcome), count) if is_known and count else None


RECEIVED = EventReader(TABLE, _ReceivedLine, b'"dify-exporter-receive"', ReceivedSums)
