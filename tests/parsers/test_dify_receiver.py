"""The receiver's lines: a block is the sum of its lines, a run needs a status, and values that are none are dropped."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsers import blocks as block
from parsers.batch import (
    UNKNOWN,
    DroppedValue,
    Failure,
    FirstToken,
    NodeRun,
    OfSpan,
    ReceivedItems,
    Record,
    Run,
    SpanApp,
    Usage,
    UsageMissing,
)
from parsers.dify import Dify
from parsers.tracing import heartbeat_line
from tests.parsers.laws import check_laws, summed
from tests.parsers.test_dify_events import OTHERS, TIMES, marred

PARSER = Dify()
APP = "8b0e7153-bf7c-4370-a6d8-5c524e440066"
TRACE = "5b8efff798038103d269b633813fc60c"
RUN_SPAN, NODE_SPAN = f"{TRACE}:eee19b7ec3c1b173", f"{TRACE}:eee19b7ec3c1b174"
NODE: dict[str, Any] = {
    "dify.event.name": "dify.node.execution",
    "dify.span.dialect": "phoenix",
    "dify.span.key": "node:0b6f6a9e-0000-4000-8000-000000000001",
    "dify.app_id": APP,
    "dify.node.type": "llm",
    "dify.node.status": "succeeded",
    "dify.node.elapsed_time": 2.4,
    "gen_ai.provider.name": "langgenius/openai/openai",
    "gen_ai.request.model": "gpt-4.1",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 34,
    "gen_ai.usage.total_tokens": 46,
    "dify.node.total_price": "0.000296",
    "dify.node.currency": "USD",
    "gen_ai.server.time_to_first_token": 0.42,
}
EVENTS: list[dict[str, Any]] = [
    NODE,
    {**NODE, "dify.app_id": None, "dify.span.parent": RUN_SPAN},
    {"dify.event.name": "dify.node.execution", "dify.node.type": "start", "dify.node.status": "unknown",
     "dify.app_id": APP, "dify.span.parent": RUN_SPAN, "dify.node.elapsed_time": 0.01},
    {"dify.event.name": "dify.node.execution", "dify.node.type": "iteration", "dify.node.status": "succeeded",
     "dify.span.self": NODE_SPAN, "dify.span.parent": RUN_SPAN},
    {"dify.event.name": "dify.message.run", "dify.app_id": APP, "dify.conversation.mode": "chat",
     "dify.message.status": "normal", "dify.message.duration": 1.2},
    {"dify.event.name": "dify.message.run", "dify.app_id": APP, "gen_ai.request.model": "gpt-4.1",
     "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6, "dify.message.total_price": "0.0001"},
    {"dify.event.name": "dify.workflow.run", "dify.app_id": APP, "dify.app.mode": "advanced-chat",
     "dify.workflow.status": "failed", "dify.workflow.elapsed_time": 3.1, "dify.error.kind": "run_failed",
     "dify.span.self": RUN_SPAN},
]  # fmt: skip
ODD: dict[str, list[Any]] = {
    "dify.event.name": [None, *[event["dify.event.name"] for event in EVENTS], "dify.poll.run", "dify.receiver.heartbeat", 5],
    "dify.app_id": [None, "no uuid", "01234567-89ab-cdef-0123-456789abcdef", []],
    "dify.span.self": [None, "", NODE_SPAN, "x" * 100, 5],
    "dify.span.parent": [None, "", NODE_SPAN, "x" * 100, {}],
    "dify.error.kind": [None, "rate_limited", "node_failed", "nonsense", []],
    "dify.node.type": [None, "tool", "loop", "start", "nonsense", {}],
    "dify.node.status": [None, "failed", "finished", "nonsense"],
    "dify.node.elapsed_time": [None, 0, 7, -1, "1.5", 1e300],
    "dify.app.mode": [None, "workflow", "nonsense", 5],
    "dify.workflow.status": [None, "finished", "stopped", 5],
    "dify.workflow.elapsed_time": [None, 0.5, "1"],
    "dify.conversation.mode": [None, "completion", "nonsense"],
    "dify.message.status": [None, "error"],
    "dify.message.duration": [None, 0.75, -1],
    "dify.message.total_price": [None, "-1", 0.5],
    "gen_ai.server.time_to_first_token": [None, 0.25, -1, "x"],
    "gen_ai.usage.input_tokens": [None, 0, 7, -1, 1.0, 1.5, "7", 10**13],
    "gen_ai.usage.output_tokens": [None, 0, 7, True],
    "gen_ai.usage.total_tokens": [None, 0, 7, 45],
    "gen_ai.request.model": [None, "", "gpt-4.1-mini"],
    "dify.node.total_price": [None, "0", "-1", "NaN", 0.5, ""],
    "dify.node.currency": [None, "RMB", "XXX"],
}  # fmt: skip


def line_of(attributes: dict[str, Any], time: str = TIMES[0]) -> bytes:
    line = {
        "ts": time, "severity": "INFO", "service": "dify-exporter-receive", "caller": "receive",
        "message": str(attributes["dify.event.name"]), "trace_id": TRACE, "attributes": attributes,
    }  # fmt: skip
    return json.dumps(line, separators=(",", ":")).encode()


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    events = draw(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=3))
    names = draw(st.lists(st.sampled_from(sorted(ODD)), max_size=3))
    changes = {name: draw(st.sampled_from(ODD[name])) for name in names}
    times = [TIMES[0], *draw(st.lists(st.sampled_from(TIMES), max_size=1))]

    @st.composite
    def lines(draw: st.DrawFn) -> bytes:
        if draw(st.integers(0, 40)) == 0:
            return draw(st.sampled_from([*OTHERS, heartbeat_line({("otel", "written"): 3}, 10**18)]))
        changed = draw(st.sets(st.sampled_from(names))) if names else set()
        attributes = draw(st.sampled_from(events)) | {name: changes[name] for name in changed}
        return draw(marred(line_of(attributes, draw(st.sampled_from(times)))))

    return b"".join(draw(st.lists(lines(), min_size=1, max_size=12)))


def twice(name: str, value: str) -> bytes:
    """Return a line of a node with a second value of a member, which is the one that counts."""
    line = line_of(EVENTS[0], TIMES[0])
    return line.replace(b',"trace_id"', b',"%b":"%b","trace_id"' % (name.encode(), value.encode())) + b"\n"


@settings(max_examples=3 * settings.default.max_examples)
@example(log=twice("message", "telemetry.\\u0073pan_detail"))
@example(log=twice("message", "\\u0074elemetry.span_detail"))
@example(log=twice("message", "telemetry.other"))
@example(log=twice("service", "api"))
@given(log=logs())
def test_a_block_is_the_sum_of_its_lines(log: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "MANY", 1)
        patch.setattr(block, "PART", 2000)
        found = PARSER.parse(log, final=True)
        patch.setattr(block, "MANY", len(log) + 1)
        plain = PARSER.parse(log, final=True)
    assert summed([found]) == summed([plain])


@settings(max_examples=settings.default.max_examples // 2)
@given(log=logs(), cuts=st.lists(st.integers(0, 5000), max_size=5))
def test_the_laws_hold(log: bytes, cuts: list[int]) -> None:
    check_laws(PARSER, log, [cut for cut in cuts if cut < len(log)])


def records(*events: dict[str, Any]) -> list[Record]:
    return list(PARSER.parse(b"".join(line_of(event) + b"\n" for event in events)).records)


def test_nodes_with_equal_labels_are_few_records() -> None:
    found = records(*[NODE] * 100)
    assert sorted((type(record).__name__, record.count) for record in found) == [  # type: ignore[union-attr]
        ("FirstToken", 100),
        ("NodeRun", 100),
        ("Usage", 100),
    ]


def test_a_node_without_an_app_has_that_of_its_parent() -> None:
    found = records(EVENTS[1])
    (usage,) = [each for each in found if isinstance(each, OfSpan) and isinstance(each.record, Usage)]
    assert usage.parent == RUN_SPAN
    assert usage.record.app_id == UNKNOWN
    assert [type(each) for each in found if not isinstance(each, OfSpan)] == [NodeRun]
    (token,) = [each.record for each in found if isinstance(each, OfSpan) and isinstance(each.record, FirstToken)]
    assert token.duration == 420_000_000


def test_what_a_line_tells_of_the_app_of_a_span() -> None:
    spans = [[each for each in records(event) if isinstance(each, SpanApp)] for event in EVENTS]
    found = [[(each.span, each.app_id, each.parent) for each in found] for found in spans]
    assert found == [
        [],
        [],
        [(RUN_SPAN, APP, "")],
        [(NODE_SPAN, UNKNOWN, RUN_SPAN)],
        [],
        [],
        [(RUN_SPAN, APP, "")],
    ]


def test_a_line_without_a_status_counts_no_run() -> None:
    for event, name in ((NODE, "node"), (EVENTS[4], "message"), (EVENTS[6], "workflow")):
        attributes = {key: value for key, value in event.items() if key != f"dify.{name}.status"}
        assert not any(isinstance(record, NodeRun | Run) for record in records(attributes))
        assert any(isinstance(record, NodeRun | Run) for record in records(event))


def test_a_run_whose_outcome_is_not_known_is_finished() -> None:
    (run,) = [each for each in records({**EVENTS[6], "dify.workflow.status": "finished"}) if isinstance(each, Run)]
    assert (run.kind, run.status, run.app_id) == ("advanced-chat", "finished", APP)


def test_numbers_that_are_no_counts_are_dropped_and_counted() -> None:
    found = records({**NODE, "gen_ai.usage.input_tokens": -1, "dify.node.total_price": "-1"})
    assert [record.field for record in found if isinstance(record, DroppedValue)] == ["tokens", "price"]
    assert [record.reason for record in found if isinstance(record, UsageMissing)] == ["inconsistent"]


def test_a_failed_node_has_a_kind_of_failure() -> None:
    failed = {**NODE, "dify.node.status": "failed", "dify.error.kind": "rate_limited"}
    assert Failure("rate_limited", 2) in records(*[failed, failed] + [NODE] * 20)
    assert not any(isinstance(each, Failure) for each in records({**failed, "dify.error.kind": "CANARY"}))


def test_a_heartbeat_counts_items() -> None:
    items = {("otel", "written"): 3, ("none", "ignored"): 5000, ("native", "duplicate"): 0}
    batch = PARSER.parse(heartbeat_line(items, 1_790_000_000_000_000_000))
    assert batch.records == (ReceivedItems("none", "ignored", 5000), ReceivedItems("otel", "written", 3))
    assert batch.last_at == 1_790_000_000_000_000_000


@pytest.mark.parametrize("items", [{}, {("none", "ignored"): 5}])
def test_a_heartbeat_without_a_written_item_begins_their_counter(items: dict[tuple[str, str], int]) -> None:
    """The counter of a receiver that never gets an item must exist, or no alert can see it."""
    batch = PARSER.parse(heartbeat_line(items, 1_790_000_000_000_000_000))
    got = [ReceivedItems(*labels, count) for labels, count in items.items()]
    assert batch.records == (*got, ReceivedItems("none", "written", 0))


def test_a_heartbeat_with_other_words_counts_nothing() -> None:
    for item in (
        {"dialect": "x", "outcome": "written", "count": 1},
        {"dialect": "otel", "outcome": "written", "count": -1},
        5,
    ):
        event = {"dify.event.name": "dify.receiver.heartbeat", "dify.receiver.items": [item]}
        assert records(event) == [ReceivedItems("none", "written", 0)]
