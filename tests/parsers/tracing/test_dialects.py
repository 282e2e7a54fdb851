"""The same story gives the same tokens, runs and nodes in every dialect, whatever is sent again, late or in between."""

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice

import pytest

from exporter import catalogue as c
from parsers.batch import UNKNOWN, Failure, NodeRun, Run, SpanApp
from parsers.tracing import Reading, read_langfuse, read_otlp
from tests.parsers.tracing import spans
from tests.parsers.tracing.events import langfuse
from tests.parsers.tracing.spans import (
    NATIVE,
    OTEL,
    PHOENIX,
    Message,
    Node,
    ScopedSpan,
    Workflow,
    native,
    otel,
    requests_of,
    stories,
    usages,
    workflows,
)
from tests.parsers.tracing.writer import Writer, batch_of, counted, tokens

APP, INNER = "770e8400-0000-4000-8000-00000000000a", "770e8400-0000-4000-8000-00000000000b"
RUN, NODE_ID = "990e8400-0000-4000-8000-00000000000d", "0b6f6a9e-0000-4000-8000-000000000001"
STORY = stories(3, 30)


def read(body: bytes) -> Reading:
    return read_langfuse(body) if body.startswith(b"{") else read_otlp(body, is_json=False, native=True)


def requests(dialect: str, runs: Sequence[spans.Run], seed: int = 1, size: int = 1) -> list[bytes]:
    if dialect == "langfuse":
        return langfuse(runs)
    if dialect == "native":
        return requests_of(native(runs, seed), NATIVE, size)
    return requests_of(otel(runs, seed, dialect == "phoenix"), PHOENIX if dialect == "phoenix" else OTEL, size)


@cache
def requests_of_story(dialect: str, seed: int = 1, size: int = 1) -> tuple[bytes, ...]:
    return tuple(requests(dialect, STORY, seed, size))


def told_by(dialect: str) -> Counter[tuple[str, str, str]]:
    runs = workflows(STORY) if dialect == "native" else STORY
    found: Counter[tuple[str, str, str]] = Counter()
    for app_id, model, (given, produced) in usages(runs):
        found[app_id, model, "input"] += given
        found[app_id, model, "output"] += produced
    return found


DIALECTS = pytest.mark.parametrize("dialect", ["otel", "phoenix", "langfuse", "native"])


@DIALECTS
@pytest.mark.parametrize("order", ["sent", "shuffled", "reversed"])
def test_each_token_counts_once_for_its_app(dialect: str, order: str) -> None:
    bodies = [*requests_of_story(dialect)]
    bodies += bodies[::3]  # some come twice
    if order == "shuffled":
        random.Random(4).shuffle(bodies)
    elif order == "reversed":
        bodies.reverse()
    writer = Writer()
    for body in bodies:
        writer.take(read(body))
    assert tokens(counted(writer.lines)) == told_by(dialect)
    assert writer.outcomes[dialect, "rejected"] == 0


@DIALECTS
def test_the_size_of_the_requests_changes_nothing(dialect: str) -> None:
    sums = []
    for size in (1, 7, 512):
        writer = Writer()
        for body in requests_of_story(dialect, size=size):
            writer.take(read(body))
        sums.append(sorted(writer.lines))
    assert sums[0] == sums[1] == sums[2]


@pytest.mark.parametrize("dialect", ["otel", "phoenix"])
def test_a_retry_with_fresh_ids_counts_nothing_again(dialect: str) -> None:
    """Celery's retry sends the whole trace again with new trace and span ids; the first attempt sent a part of it."""
    for end in (1, 5, 60, None):
        writer = Writer()
        for body in requests_of_story(dialect)[:end] + requests_of_story(dialect, seed=2):
            writer.take(read(body))
        snapshot = counted(writer.lines)
        assert tokens(snapshot) == told_by(dialect)
        assert sum(snapshot.counters[c.RUNS].values()) == number_of_runs(STORY)


def number_of_runs(runs: Sequence[spans.Run]) -> int:
    nested = [node.nested for run in runs if isinstance(run, Workflow) for node in run.nodes if node.nested]
    return len(runs) + (number_of_runs(nested) if nested else 0)


@DIALECTS
def test_each_run_and_node_counts_once(dialect: str) -> None:
    writer = Writer()
    for body in requests_of_story(dialect) * 2:
        writer.take(read(body))
    runs = workflows(STORY) if dialect == "native" else STORY
    snapshot = counted(writer.lines)
    assert sum(snapshot.counters[c.RUNS].values()) == number_of_runs(runs)
    assert sum(snapshot.counters[c.NODE_RUNS].values()) == number_of_nodes(runs)


def number_of_nodes(runs: Sequence[spans.Run]) -> int:
    total = 0
    for run in runs:
        for node in run.nodes if isinstance(run, Workflow) else ():
            total += 1 + len(node.inside) + (number_of_nodes([node.nested]) if node.nested else 0)
    return total


def lines_of(sent: Sequence[ScopedSpan], resource: dict[str, str]) -> list[bytes]:
    writer = Writer()
    for body in requests_of(sent, resource):
        writer.take(read(body))
    return writer.lines


LLM = Node(NODE_ID, "llm", tokens=(12, 34))


@pytest.mark.parametrize("is_first", [True, False])
def test_two_attempts_of_a_node_are_one_node_and_each_attempts_tokens_count(is_first: bool) -> None:
    first, second = LLM._replace(tokens=(12, 5)), LLM
    sent = [*native([Workflow(RUN, APP, (first,))], 1), *native([Workflow(RUN, APP, (second,))], 2)][
        :: 1 if is_first else -1
    ]
    snapshot = counted(lines_of(sent, NATIVE))
    assert tokens(snapshot) == {(APP, "gpt-4.1", "input"): 24, (APP, "gpt-4.1", "output"): 39}
    assert sum(snapshot.counters[c.NODE_RUNS].values()) == 1


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_failed_attempt_before_or_after_costs_no_tokens(is_reversed: bool) -> None:
    sent = native([Workflow(RUN, APP, (LLM._replace(failed_attempts=2),))])
    snapshot = counted(lines_of(sent[::-1] if is_reversed else sent, NATIVE))
    assert tokens(snapshot) == {(APP, "gpt-4.1", "input"): 12, (APP, "gpt-4.1", "output"): 34}
    assert sum(snapshot.counters[c.NODE_RUNS].values()) == 1


def test_a_parent_that_never_comes_gives_the_app_unknown() -> None:
    sent = [each for each in native([Workflow(RUN, APP, (LLM,))]) if "AppRunner" not in each.span.name]
    assert tokens(counted(lines_of(sent, NATIVE))) == {
        (UNKNOWN, "gpt-4.1", "input"): 12,
        (UNKNOWN, "gpt-4.1", "output"): 34,
    }


def test_a_start_node_tells_the_app_before_the_run_has_ended() -> None:
    run = Workflow(RUN, APP, (Node("0b6f6a9e-0000-4000-8000-000000000002", "start"), LLM))
    sent = [each for each in native([run]) if "AppRunner" not in each.span.name]
    assert set(tokens(counted(lines_of(sent, NATIVE)))) == {(APP, "gpt-4.1", "input"), (APP, "gpt-4.1", "output")}


def test_a_workflow_as_a_tool_counts_for_its_own_app() -> None:
    inner = Workflow("990e8400-0000-4000-8000-00000000000e", INNER, (LLM,))
    run = Workflow(RUN, APP, (Node("0b6f6a9e-0000-4000-8000-000000000003", "tool", tokens=(12, 34), nested=inner),))
    for dialect in ("otel", "phoenix", "langfuse", "native"):
        writer = Writer()
        for body in requests(dialect, [run]):
            writer.take(read(body))
        assert set(tokens(counted(writer.lines))) == {(INNER, "gpt-4.1", "input"), (INNER, "gpt-4.1", "output")}


@pytest.mark.parametrize("dialect", ["otel", "phoenix", "langfuse"])
def test_a_run_that_waits_for_a_person_counts_when_it_has_ended(dialect: str) -> None:
    """ENABLE_OTEL cannot distinguish them: there the second part of such a run is a run of its own."""
    form = Node("0b6f6a9e-0000-4000-8000-000000000004", "human-input", "paused")
    paused = Workflow(RUN, APP, (LLM, form), "paused")
    resumed = Workflow(RUN, APP, (LLM, form._replace(status="succeeded")), "succeeded")
    writer = Writer()
    for body in [*requests(dialect, [paused], 1), *requests(dialect, [resumed], 2)]:
        writer.take(read(body))
    snapshot = counted(writer.lines)
    assert [labels[3] for labels in snapshot.counters[c.RUNS]] == ["succeeded"]
    assert sorted(labels[1:] for labels in snapshot.counters[c.NODE_RUNS]) == [
        ("human-input", "succeeded"),
        ("llm", "succeeded"),
    ]
    assert tokens(snapshot) == {(APP, "gpt-4.1", "input"): 12, (APP, "gpt-4.1", "output"): 34}


def test_the_app_in_the_resource_of_the_provider_counts() -> None:
    sent = [each for each in otel([Workflow(RUN, APP, (LLM,))]) if not each.span.name.startswith("workflow")]
    lines = lines_of(sent, {"service.name": "dify", "dify.app_id": INNER})
    assert set(tokens(counted(lines))) == {(INNER, "gpt-4.1", "input"), (INNER, "gpt-4.1", "output")}


def records_of(
    run: spans.Run, make: Callable[[Sequence[spans.Run]], list[ScopedSpan]], resource: dict[str, str]
) -> list[object]:
    return list(batch_of(lines_of(make([run]), resource)).records)


def test_failed_nodes_have_a_kind_and_a_run_fails_once() -> None:
    run = Workflow(RUN, APP, (LLM._replace(status="failed", tokens=None),), "failed")
    found = records_of(run, otel, OTEL)
    assert {(each.kind, each.count) for each in found if isinstance(each, Failure)} == {
        ("rate_limited", 1),
        ("run_failed", 1),
    }
    assert [each.status for each in found if isinstance(each, NodeRun | Run)] == ["failed", "failed"]


def test_a_chatflow_is_known_by_its_conversation_which_is_not_written() -> None:
    conversation = "aaaaaaaa-0000-4000-8000-00000000000d"
    run = Workflow(RUN, APP, (LLM,), conversation_id=conversation)
    for make, resource in ((otel, OTEL), (native, NATIVE)):
        lines = lines_of(make([run]), resource)
        assert [each.kind for each in batch_of(lines).records if isinstance(each, Run)] == ["advanced-chat"]
        assert conversation.encode() not in b"".join(lines)


def test_a_message_without_usage_is_a_run_only() -> None:
    """Dify sends a stopped message as a normal one, without tokens (Phoenix) or with zeros (Langfuse)."""
    message = Message("aa0e8400-0000-4000-8000-00000000000e", APP, "chat", (0, 0), price=0.0)
    for dialect in ("otel", "phoenix", "langfuse"):
        writer = Writer()
        for body in requests(dialect, [message]):
            writer.take(read(body))
        assert [type(each) for each in batch_of(writer.lines).records] == [Run]


def node_before_1_6(batches: Sequence[int]) -> Writer:
    """A run of an llm node and of a tool in requests of so many events, as Dify 0.7 to 1.5 sends it."""
    app, run, llm, tool = (str(uuid.UUID(int=number)) for number in (1, 2, 3, 4))
    metadata = {"app_id": app, "workflow_run_id": run, "status": "succeeded", "total_tokens": 107, "total_price": "0.5"}
    of_llm = metadata | {"node_type": "llm", "node_execution_id": llm, "currency": "USD"}
    of_tool = metadata | {"node_type": "tool", "node_execution_id": tool, "currency": "USD"}
    times = {"startTime": "2026-09-21T14:15:00Z", "endTime": "2026-09-21T14:15:01Z", "traceId": run}
    usage = {"input": 100, "output": 7, "total": 107, "unit": "TOKENS"}
    generation = {"name": "llm", "model": "gpt-4.1", "parentObservationId": llm, "usage": usage, "metadata": of_llm}
    events = [
        ("trace-create", {"id": run, "name": "workflow", "tags": ["workflow"], "metadata": metadata}),
        ("span-create", {"id": llm, "name": "llm", "metadata": of_llm, **times}),
        ("generation-create", {"id": "random", **generation, **times}),
        ("span-create", {"id": tool, "name": "tool", "metadata": of_tool, **times}),
    ]
    writer, rest = Writer(), iter(events)
    for size in batches:
        batch = [{"type": kind, "timestamp": times["endTime"], "body": body} for kind, body in islice(rest, size)]
        writer.take(read_langfuse(json.dumps({"batch": batch}).encode()))
    return writer


@pytest.mark.parametrize("batches", [(4,), (1, 2, 1), (1, 3), (3, 1), (2, 2)])
def test_a_node_that_comes_as_span_and_generation_counts_once(batches: Sequence[int]) -> None:
    found = counted(node_before_1_6(batches).lines)
    assert sum(found.counters[c.NODE_RUNS].values()) == 2
    of_llm = {labels[4]: count for labels, count in found.counters[c.TOKENS_USED].items() if labels[3] == "gpt-4.1"}
    assert of_llm == {"input": 100, "output": 7}
    assert sum(found.counters[c.TOKENS_USED].values()) == 2 * 107
    assert sum(found.counters[c.COST].values()) == 1


def test_without_native_the_spans_of_enable_otel_are_ignored() -> None:
    (body,) = requests_of(native(STORY), NATIVE, 10_000)
    reading = read_otlp(body, is_json=False, native=False)
    assert reading.facts == []
    assert reading.ignored == {"native": len(native(STORY))}


def test_spans_of_another_program_are_ignored() -> None:
    body = spans.request_of(
        [spans.SpanWriter(1).span(b"x" * 16, b"", "chat", {"gen_ai.usage.input_tokens": 5})], "openai"
    )
    assert read_otlp(body, is_json=False, native=True) == Reading([], {"none": 1}, {})


def test_a_retry_under_new_ids_still_tells_the_app_of_a_span() -> None:
    run = Workflow(RUN, APP, (LLM,))
    first, again = otel([run], 1), otel([run], 2)
    lines = lines_of([first[0], again[0], again[1]], OTEL)
    assert sum(isinstance(each, SpanApp) for each in batch_of(lines).records) == 2
    assert set(tokens(counted(lines))) == {(APP, "gpt-4.1", "input"), (APP, "gpt-4.1", "output")}


USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "total_price": "0.0001", "currency": "USD"}
MESSAGE_ID = "aa0e8400-0000-4000-8000-00000000000e"


def rewritten(name: str, kind: str, attributes: dict[str, object]) -> ScopedSpan:
    """A span of the rewrite of Dify's tracing (scope `dify.ops`, langgenius/dify#42008)."""
    common = {"openinference.span.kind": "CHAIN", "dify.app_id": APP, "dify.span.type": kind, "dify.span.status": "ok"}
    return ScopedSpan(spans.SpanWriter(9).span(b"t" * 16, b"", name, common | attributes), "dify.ops")


def test_the_rewrite_of_difys_tracing_marks_copies() -> None:
    node = {"dify.node.execution_id": NODE_ID, "dify.node.type": "llm", "dify.usage": USAGE, "dify.span.id": NODE_ID,
            "llm.model_name": "gpt-4.1", "llm.token_count.prompt": 20, "llm.token_count.completion": 5}  # fmt: skip
    message = {
        "dify.message.id": MESSAGE_ID,
        "dify.usage": USAGE,
        "llm.model_name": "gpt-4.1",
        "dify.span.id": MESSAGE_ID,
    }
    sent = [
        rewritten("Answer attempt 1", "node", {**node, "metrics_from_parent": True}),
        rewritten("Answer", "node", node),
        rewritten(
            "Each", "node", {**node, "dify.node.execution_id": RUN, "aggregate_usage": True, "dify.node.type": "tool"}
        ),
        rewritten("run", "workflow", {"dify.workflow.run_id": RUN, "dify.usage": USAGE, "aggregate_usage": True}),
        rewritten("message", "message", message),
        rewritten("llm", "llm", {**message, "metrics_from_parent": True}),
    ]
    lines = lines_of(sent + sent[::-1], OTEL)
    snapshot = counted(lines)
    assert tokens(snapshot) == {(APP, "gpt-4.1", "input"): 40, (APP, "gpt-4.1", "output"): 10}
    runs = snapshot.counters[c.RUNS]
    assert {labels[1:]: int(count) for labels, count in runs.items()} == {
        ("workflow", APP, "succeeded"): 1,
        ("unknown", APP, "succeeded"): 1,
    }
    assert {labels[1:]: int(count) for labels, count in snapshot.counters[c.NODE_RUNS].items()} == {
        ("llm", "succeeded"): 1,
        ("tool", "succeeded"): 1,
    }
    again = Writer(lines)
    for body in requests_of(sent, OTEL):
        again.take(read(body))
    assert again.lines == lines
