"""Every telemetry event in its three generations, and the rule that no token is counted twice."""

import json
import math
from decimal import Decimal

import pytest

from parsers.batch import DroppedValue, FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.dify import Dify

APP = "770e8400-1f2d-4c3b-9a4e-0123456789ab"
SECOND = 1_000_000_000
AT = 1_795_424_202_240_000_000


def records(event: str, **attributes: object) -> list[Record]:
    line = {
        "ts": "2026-11-23T08:56:42.240Z",
        "severity": "INFO",
        "service": "langgenius/dify",
        "caller": "telemetry_log.py:71",
        "message": "telemetry.metric_only",
        "trace_id": "c5e3a0d2eb255f1b83627a483364b6b8",
        "attributes": {"dify.event.name": event, "dify.app_id": APP, **attributes},
    }
    batch = Dify().parse(json.dumps(line).encode() + b"\n")
    assert (batch.observed, batch.last_at) == (1, AT)
    return list(batch.records)


def tokens(given: object = 12, produced: object = 34, total: object = 46) -> dict[str, object]:
    return {
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": produced,
        "gen_ai.usage.total_tokens": total,
    }


MODEL = {"gen_ai.provider.name": "langgenius/openai/openai", "gen_ai.request.model": "gpt-4.1"}
LLM = {"dify.node.type": "llm", "dify.node.status": "succeeded", "dify.node.elapsed_time": 1.5, **MODEL}
USED = Usage(APP, "langgenius/openai/openai", "gpt-4.1", 12, 34, None, None, "unknown", AT)


def used(**changes: object) -> Usage:
    import msgspec

    return msgspec.structs.replace(USED, **changes)


PRICES = {
    "A": {"dify.node.total_price": "0.0012890", "dify.node.currency": "USD", "dify.node.error": None},
    "B": {"dify.node.total_price": 0.001289, "dify.node.currency": "USD"},
    "C": {"dify.usage.total_price": "1.289E-3", "dify.cost.currency": "USD"},
    "C nested": {"dify.usage": {"total_price": "0.001289", "currency": "USD"}},
}


@pytest.mark.parametrize("generation", PRICES)
@pytest.mark.parametrize("event", ["dify.node.execution", "dify.node.execution.draft"])
def test_an_llm_node_is_counted_in_every_generation(event: str, generation: str) -> None:
    cost = Decimal("0.001289")
    assert records(event, **LLM, **tokens(), **PRICES[generation]) == [
        NodeRun("llm", "succeeded", 1_500_000_000),
        used(cost=cost, currency="USD"),
    ]


@pytest.mark.parametrize(
    ("node", "counted"),
    [
        ({"dify.node.type": "iteration", **MODEL}, False),
        ({"dify.node.type": "loop"}, False),
        ({"dify.node.type": "tool"}, False),
        ({"dify.node.type": "tool", **MODEL}, True),
        ({"dify.node.type": "agent", **MODEL}, True),
        ({"dify.node.type": "question-classifier", **MODEL}, True),
    ],
)
def test_containers_do_not_count_the_tokens_of_their_nodes(node: dict[str, str], counted: bool) -> None:
    found = records("dify.node.execution", **node, **{"dify.node.status": "succeeded"}, **tokens())
    assert any(isinstance(record, Usage) for record in found) == counted


def test_a_workflow_run_counts_no_tokens() -> None:
    run = {"dify.workflow.status": "partial-succeeded", "dify.workflow.elapsed_time": 2, **tokens()}
    assert records("dify.workflow.run", **run) == [Run("workflow", APP, "partial-succeeded", 2 * SECOND)]
    in_chat = records("dify.workflow.run", **run, **{"dify.conversation.id": "c"})
    assert in_chat == [Run("advanced-chat", APP, "partial-succeeded", 2 * SECOND)]


def test_a_message_of_a_workflow_is_not_a_second_run() -> None:
    message = {
        "dify.conversation.mode": "chat",
        "dify.message.status": "normal",
        "dify.message.duration": 3.0,
        "dify.message.time_to_first_token": 0.25,
        **MODEL,
        **tokens(),
    }
    first = FirstToken(APP, "gpt-4.1", SECOND // 4)
    assert records("dify.message.run", **message) == [first, Run("chat", APP, "normal", 3 * SECOND), USED]
    assert records("dify.message.run", **message, **{"dify.workflow.run_id": "w"}) == [first]


@pytest.mark.parametrize(
    ("event", "copy"),
    [
        (
            "dify.prompt_generation.execution",
            {"dify.prompt_generation.operation_type": "llm"},
        ),  # the model call of a message
        ("dify.prompt_generation.execution", {"dify.prompt_generation.operation_type": "agent"}),  # a step of an agent
        ("dify.prompt_generation.execution", {"metrics_from_parent": True}),
        ("dify.node.execution", {"dify.span.name": "Answer attempt 1", "dify.node.attempt": 0}),
        ("dify.node.execution", {"dify.span.name": "Answer attempt 3", "dify.node.attempt": 2}),
        ("dify.node.execution", {"metrics_from_parent": True}),
        (
            "dify.node.execution",
            {"dify.trace.links": ["0b5f8b1e-0000-4000-8000-000000000000"]},
        ),  # of a workflow as tool
    ],
)
def test_what_generation_c_tells_a_second_time_is_no_second_use(event: str, copy: dict[str, object]) -> None:
    """Its spans of retries, of agents' steps and of a message's model call repeat what their parent reports."""
    assert records(event, **LLM, **tokens(), **copy) == []


def test_the_parent_of_a_copy_counts() -> None:
    attributes = {
        "dify.span.name": "Attempt 2",
        "dify.node.attempt": 2,
        "dify.trace.links": [],
        "metrics_from_parent": False,
    }
    assert records("dify.node.execution", **LLM, **tokens(), **attributes) == [
        NodeRun("llm", "succeeded", 1_500_000_000),
        used(),
    ]


def test_a_status_that_dify_does_not_know_is_unknown() -> None:
    """Generation C writes this status for an incomplete span."""
    assert records("dify.workflow.run", **{"dify.workflow.status": "unknown"}) == [Run("workflow", APP, "unknown")]


def test_prompts_and_questions_generated_by_a_model_are_counted() -> None:
    price = {"dify.prompt_generation.total_price": 0.5, "dify.prompt_generation.currency": "RMB"}
    generated = records("dify.prompt_generation.execution", **MODEL, **tokens(), **price)
    assert generated == [used(cost=Decimal("0.5"), currency="RMB")]
    zeros = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0, "gen_ai.usage.total_tokens": 9}
    split_nowhere = records("dify.prompt_generation.execution", **MODEL, **zeros)
    assert split_nowhere == [used(input_tokens=None, output_tokens=None, unsplit_tokens=9)]
    suggested = records("dify.suggested_question.generation", **MODEL, **{"gen_ai.usage.total_tokens": 9})
    assert suggested == [used(input_tokens=None, output_tokens=None, unsplit_tokens=9)]


@pytest.mark.parametrize(
    "event",
    [
        "dify.tool.execution", "dify.moderation.check", "dify.dataset.retrieval", "dify.generate_name.execution",
        "dify.app.created", "dify.feedback.created", "dify.telemetry.rehydration_failed", "dify.something.new",
    ],
)  # fmt: skip
def test_other_events_count_nothing(event: str) -> None:
    assert records(event, **tokens()) == []


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        ({}, "absent"),
        (tokens(None, None, None), "absent"),
        (tokens(0, 0, 0), "zero"),
        (tokens(total=10), "inconsistent"),
        (tokens(total=47), "inconsistent"),
        (tokens(0, 0, 9), "inconsistent"),
        (tokens(None, None, 9), None),
        (tokens(None, 34, 46), "inconsistent"),
        (tokens(given=True), "inconsistent"),
        (tokens(given=-1), "inconsistent"),
        (tokens(given=1.5), "inconsistent"),
        (tokens(given=10**12 + 1), "inconsistent"),
        (tokens(given="12"), "inconsistent"),
        (tokens(given=math.nan), "inconsistent"),
        (tokens(given=math.inf), "inconsistent"),
        (tokens(), None),
        (tokens(given=12.0), None),
    ],
)
def test_missing_usage_of_a_succeeded_llm_node_is_reported(usage: dict[str, object], reason: str | None) -> None:
    found = [r.reason for r in records("dify.node.execution", **LLM, **usage) if isinstance(r, UsageMissing)]
    assert found == ([reason] if reason else [])
    failed = records("dify.node.execution", **{**LLM, "dify.node.status": "failed"}, **usage)
    assert not any(isinstance(record, UsageMissing) for record in failed)


@pytest.mark.parametrize("number", [1, 40])  # few lines are read one by one, many as a block
@pytest.mark.parametrize(
    ("usage", "split"),
    [
        (tokens(), (12, 34, None)),
        (tokens(total=60), (12, 34, 14)),
        (tokens(0, 34, 60), (0, 34, 26)),
        (tokens(None, 34, 60), (None, 34, 26)),
        (tokens(total=10), (12, 34, None)),
        (tokens(total=None), (12, 34, None)),
        (tokens(0, 0, 9), (None, None, 9)),
    ],
)
def test_tokens_of_a_total_beyond_its_parts_are_unsplit(
    usage: dict[str, object], split: tuple[int | None, ...], number: int
) -> None:
    attributes = {**LLM, "dify.event.name": "dify.node.execution", **usage}
    line = {
        "ts": "2026-11-23T08:56:42.240Z",
        "severity": "INFO",
        "message": "telemetry.span_detail",
        "attributes": attributes,
    }
    found = Dify().parse((json.dumps(line).encode() + b"\n") * number).records
    used = [record for record in found if isinstance(record, Usage)]
    for place, name in enumerate(("input_tokens", "output_tokens", "unsplit_tokens")):
        counts = [getattr(record, name) for record in used if getattr(record, name) is not None]
        assert sum(counts) == (split[place] or 0) * number


@pytest.mark.parametrize("bad", [-1, True, "x", "NaN", "1e400", [], {}, math.nan, math.inf, -math.inf, 10**400])
def test_only_a_bad_number_is_dropped(bad: object) -> None:
    node = {**LLM, "dify.node.elapsed_time": bad, "dify.node.total_price": bad, **tokens()}
    found = records("dify.node.execution", **node)
    price, duration = [record for record in found if isinstance(record, DroppedValue)]
    assert [record for record in found if not isinstance(record, DroppedValue)] == [NodeRun("llm", "succeeded"), USED]
    assert [(each.field, each.count) for each in (duration, price)] == [("duration", 1), ("price", 1)]
    assert "CANARY" not in repr((duration, price))


def test_labels_come_from_closed_sets() -> None:
    found = records(
        "dify.node.execution",
        **{**LLM, "dify.node.type": "CANARY-type", "dify.node.status": "CANARY-status", "dify.app_id": "CANARY-app"},
        **tokens(),
        **{"dify.node.total_price": 1, "dify.node.currency": "CANARY", "dify.node.inputs": "CANARY"},
    )
    assert "CANARY" not in repr(found)
    assert found[0] == NodeRun("other", "other", 1_500_000_000)


@pytest.mark.parametrize("attributes", ["7", "[]", "null", '"x"', '{"dify.event.name": []}', '{"dify.event.name": {}}'])
def test_attributes_of_any_shape(attributes: str) -> None:
    line = '{"ts":"2026-11-23T08:56:42.240Z","message":"telemetry.metric_only","attributes":%s}\n' % attributes
    batch = Dify().parse(line.encode())
    assert (batch.observed, batch.records) == (1, ())


# --- the length of the prompt decides the price -----------------------------------------------------------------


def message(mode: str, given: int, **attributes: object) -> bytes:
    """The line of a message, as block readers take it."""
    line = {
        "ts": "2026-11-23T08:56:42.240Z",
        "severity": "INFO",
        "service": "langgenius/dify",
        "caller": "telemetry_log.py:71",
        "message": "telemetry.metric_only",
        "attributes": {
            "dify.event.name": "dify.message.run",
            "dify.app_id": APP,
            "dify.conversation.mode": mode,
            "dify.message.status": "normal",
            **MODEL,
            **tokens(given, 5, given + 5),
            **attributes,
        },
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def usages(*lines: bytes) -> list[tuple[int | None, int, bool]]:
    records = Dify().parse(b"".join(lines)).records
    return sorted(
        (u.input_tokens, u.count, u.is_call and bool(u.input_tokens > 32_000)) for u in records if isinstance(u, Usage)
    )


def test_long_prompts_without_a_price_are_not_summed_up() -> None:
    lines = [message("chat", given) for given in (10, 32_000, 32_001, 250_000)]
    assert usages(*lines * 50) == sorted([(1_600_500, 100, False), *[(32_001, 1, True), (250_000, 1, True)] * 50])


def test_the_message_of_an_agent_may_be_several_calls() -> None:
    assert usages(message("agent-chat", 250_000), message("completion", 250_000)) == [
        (250_000, 1, False), (250_000, 1, True)
    ]  # fmt: skip


def test_usages_with_a_price_are_summed_up_whatever_their_length() -> None:
    lines = [message("chat", 250_000, **{"dify.usage": {"total_price": "0.5"}, "dify.cost.currency": "USD"})] * 20
    assert usages(*lines) == [(5_000_000, 20, False)]


@pytest.mark.parametrize(("node_type", "is_call"), [("llm", True), ("question-classifier", True), ("agent", False)])
def test_some_nodes_call_a_model_once(node_type: str, is_call: bool) -> None:
    found = records("dify.node.execution", **LLM | {"dify.node.type": node_type}, **tokens(50_000, 1, 50_001))
    assert [record.is_call for record in found if isinstance(record, Usage)] == [is_call]
