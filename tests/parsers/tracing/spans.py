"""Spans and events as Dify makes them (docs/receiver.md), for tests of the reading and of the server.

A `Story` is what happened in Dify: runs of every kind of app, with nodes, nested workflows, retries and pauses. Each
dialect describes a run in its own way: `otel`, `phoenix`, `native` give spans, `langfuse` gives events.
"""

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

#: Stands in every text of a user, a model or a provider.
CANARY = "CANARY-secret"
PROVIDER = "langgenius/openai/openai"
BEGIN = 1_790_000_000_000_000_000
SECOND = 1_000_000_000
CHAT_MODES = ("chat", "completion", "agent-chat")
OBSERVABILITY = "core.app.workflow.layers.observability"
DECORATORS = "extensions.otel.decorators.base"


class Node(NamedTuple):
    """A node execution. `tokens` are input and output; `inside` are the nodes of an iteration."""

    node_id: str
    node_type: str
    status: str = "succeeded"
    tokens: tuple[int, int] | None = None
    model: str = "gpt-4.1"
    price: str = "0.000296"
    currency: str = "USD"
    failed_attempts: int = 0
    inside: tuple["Node", ...] = ()
    nested: "Workflow | None" = None
    first_token_seconds: float = 0.42


class Workflow(NamedTuple):
    run_id: str
    app_id: str
    nodes: tuple[Node, ...]
    status: str = "succeeded"
    conversation_id: str | None = None
    seconds: float = 3.1


class Message(NamedTuple):
    message_id: str
    app_id: str
    mode: str
    tokens: tuple[int, int]
    model: str = "gpt-4.1"
    price: float = 0.00008


Run = Workflow | Message


def stories(seed: int, runs: int) -> list[Run]:
    """Runs of all kinds of apps."""
    chance = random.Random(seed)
    apps = [_id(chance) for _ in range(4)]
    found: list[Run] = []
    for number in range(runs):
        app_id = chance.choice(apps)
        if number % 3 == 0:
            tokens = chance.randrange(1, 500), chance.randrange(1, 90)
            found.append(Message(_id(chance), app_id, chance.choice(CHAT_MODES), tokens))
        else:
            found.append(_workflow(chance, app_id, depth=0))
    return found


def _workflow(chance: random.Random, app_id: str, depth: int) -> Workflow:
    nodes = [Node(_id(chance), "start")]
    for _ in range(chance.randrange(1, 4)):
        kind = chance.choice(("llm", "question-classifier", "parameter-extractor", "code", "iteration", "tool", "llm"))
        nodes.append(_node(chance, kind, depth))
    status = chance.choice(("succeeded", "succeeded", "failed", "partial-succeeded"))
    conversation = _id(chance) if depth == 0 and chance.random() < 0.4 else None
    return Workflow(_id(chance), app_id, (*nodes, Node(_id(chance), "end")), status, conversation)


def _node(chance: random.Random, kind: str, depth: int) -> Node:
    tokens = chance.randrange(1, 500), chance.randrange(1, 90)
    if kind == "iteration":
        inside = tuple(_node(chance, "llm", 9) for _ in range(2))
        return Node(_id(chance), kind, tokens=(sum(n.tokens[0] for n in inside if n.tokens), 1), inside=inside)
    if kind == "tool":
        nested = _workflow(chance, _id(chance), depth + 1) if depth < 2 else None
        return Node(_id(chance), kind, tokens=(7, 8) if nested else None, nested=nested)
    if kind == "code":
        return Node(_id(chance), kind)
    if chance.random() < 0.15:
        return Node(_id(chance), kind, status=chance.choice(("failed", "exception")))
    return Node(_id(chance), kind, tokens=tokens, failed_attempts=chance.choice((0, 0, 0, 1)))


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def usages(runs: Sequence[Run]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """App, model and tokens of each model call, counted once."""
    for run in runs:
        if isinstance(run, Message):
            yield run.app_id, run.model, run.tokens
        else:
            for node in leaves(run.nodes):
                if node.nested is not None:
                    yield from usages([node.nested])
                elif node.tokens is not None:
                    yield run.app_id, node.model, node.tokens


def leaves(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes that are no iteration, also those inside."""
    for node in nodes:
        if node.node_type == "iteration":
            yield from leaves(node.inside)
        else:
            yield node


def workflows(runs: Sequence[Run]) -> list[Workflow]:
    """What ENABLE_OTEL shows."""
    return [run for run in runs if isinstance(run, Workflow)]


def usage_of(node: Node) -> dict[str, Any]:
    given, produced = node.tokens or (0, 0)
    return {
        "prompt_tokens": given, "completion_tokens": produced, "total_tokens": given + produced,
        "total_price": node.price, "currency": node.currency, "latency": 2.31, "time_to_first_token": node.first_token_seconds,
    }  # fmt: skip


def key_value(key: str, value: Any) -> KeyValue:
    if isinstance(value, dict):
        pairs = KeyValueList(values=[key_value(name, each) for name, each in value.items()])
        return KeyValue(key=key, value=AnyValue(kvlist_value=pairs))
    kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
    return KeyValue(key=key, value=AnyValue(**{kind: value}))


def request_of(spans: Sequence[Span], scope: str, resource: dict[str, Any] | None = None) -> bytes:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.extend(key_value(key, value) for key, value in (resource or {}).items())
    inner = outer.scope_spans.add(spans=spans)
    inner.scope.name = scope
    return request.SerializeToString()


class ScopedSpan(NamedTuple):
    """A span with its scope."""

    span: Span
    scope: str


class SpanWriter:
    """Makes spans with fresh ids, as each attempt of Dify to send a trace does."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def trace_id(self) -> bytes:
        return self._chance.randbytes(16)

    def span(self, trace_id: bytes, parent: bytes, name: str, attributes: dict[str, Any], failed: str = "") -> Span:
        span = Span(
            trace_id=trace_id, span_id=self._chance.randbytes(8), parent_span_id=parent, name=name, kind=1,
            start_time_unix_nano=BEGIN, end_time_unix_nano=BEGIN + 2_400_000_000,
            attributes=[key_value(key, value) for key, value in attributes.items() if value is not None],
        )  # fmt: skip
        if failed:
            span.status.code, span.status.message = 2, failed
            span.events.add(name="exception").attributes.append(key_value("exception.message", failed))
        return span


ERROR = f'req_id: 1 PluginInvokeError: {{"args":{{}},"error_type":"InvokeRateLimitError","message":"{CANARY}"}}'


def native(runs: Sequence[Run], seed: int = 1) -> list[ScopedSpan]:
    """The spans of ENABLE_OTEL, in the order in which they end.

    The nodes inside an iteration have spans too, below that of the iteration. This is so after Dify 1.17
    (core/app/workflow/layers/observability.py); in 1.14 they have none.
    """
    writer, found = SpanWriter(seed), list[ScopedSpan]()
    for run in workflows(runs):
        found += _native_run(writer, run, writer.trace_id(), b"")
    return found


def _native_run(writer: SpanWriter, run: Workflow, trace_id: bytes, parent: bytes) -> Iterator[ScopedSpan]:
    kind = "advanced_chat.app_runner.AdvancedChat" if run.conversation_id else "workflow.app_runner.Workflow"
    attributes = {
        "dify.app_id": run.app_id, "dify.tenant_id": CANARY, "gen_ai.user.id": CANARY, "dify.streaming": True,
    }  # fmt: skip
    runner = writer.span(trace_id, parent, f"core.app.apps.{kind}AppRunner.run", attributes)
    if run.status == "failed":
        event = runner.events.add(name="log.exception")
        event.attributes.extend(
            [key_value("log.logger", "core.workflow.workflow_entry"), key_value("log.message", CANARY)]
        )
    for node in run.nodes:
        for _ in range(node.failed_attempts):
            yield ScopedSpan(
                _native_node(writer, run, node._replace(tokens=None), trace_id, runner.span_id), OBSERVABILITY
            )
        span = _native_node(writer, run, node, trace_id, runner.span_id)
        if node.nested is not None:
            yield from _native_run(writer, node.nested, trace_id, span.span_id)
        for inner in node.inside:
            yield ScopedSpan(_native_node(writer, run, inner, trace_id, span.span_id), OBSERVABILITY)
        yield ScopedSpan(span, OBSERVABILITY)
    yield ScopedSpan(runner, DECORATORS)


def _native_node(writer: SpanWriter, run: Workflow, node: Node, trace_id: bytes, parent: bytes) -> Span:
    given: dict[str, Any] = {"query": CANARY}
    output: dict[str, Any] = {"text": CANARY}
    attributes: dict[str, Any] = {
        "node.id": "1", "node.execution_id": node.node_id, "node.type": node.node_type, "gen_ai.framework": "dify",
        "gen_ai.span.kind": "TASK", "gen_ai.prompt": CANARY, "gen_ai.completion": CANARY,
    }  # fmt: skip
    if node.node_type == "start" or node.node_type.startswith("trigger-"):
        output |= {"sys.app_id": run.app_id, "sys.workflow_run_id": run.run_id, "sys.query": CANARY}
    if node.node_type == "tool":
        attributes |= {"gen_ai.tool.name": CANARY, "gen_ai.tool.type": "workflow" if node.nested else "builtin"}
    elif node.node_type in ("llm", "question-classifier", "parameter-extractor"):
        given |= {"model_provider": PROVIDER, "model_name": node.model}
        if node.tokens:
            output["__usage" if node.node_type == "parameter-extractor" else "usage"] = usage_of(node)
        if node.tokens and node.node_type == "llm":
            attributes |= {"gen_ai.request.model": node.model, "gen_ai.provider.name": PROVIDER}
            names = zip(("input", "output", "total"), (*node.tokens, sum(node.tokens)), strict=True)
            attributes |= {f"gen_ai.usage.{name}_tokens": count for name, count in names}
    attributes |= {"input.value": json.dumps(given), "output.value": json.dumps(output)}
    return writer.span(trace_id, parent, CANARY, attributes)


def otel(runs: Sequence[Run], seed: int = 1, is_phoenix: bool = False) -> list[ScopedSpan]:
    """The spans of the provider `otel`, parents first; with `is_phoenix` those of legacy Phoenix, leaves first."""
    writer, found = SpanWriter(seed), list[ScopedSpan]()
    for run in runs:
        spans = [ScopedSpan(span, CANARY) for span in _provided(writer, run, writer.trace_id(), b"", is_phoenix)]
        found += spans[::-1] if is_phoenix else spans
    return found


def _provided(writer: SpanWriter, run: Run, trace_id: bytes, parent: bytes, is_phoenix: bool) -> Iterator[Span]:
    if isinstance(run, Message):
        yield from _provided_message(writer, run, trace_id, is_phoenix)
        return
    nodes = [node for node in leaves(run.nodes) if node.nested is None]
    total = sum(sum(node.tokens or ()) for node in nodes)
    metadata = {
        "app_id": run.app_id, "status": run.status, "elapsed_time": run.seconds, "total_tokens": total, "query": CANARY,
        "conversation_id": run.conversation_id, "workflow_run_id": run.run_id, "trace_entity_type": "workflow",
        "status_message": ERROR if run.status == "failed" else "", "user_id": CANARY,
    }  # fmt: skip
    attributes = _common("CHAIN", metadata, run.run_id, is_phoenix)
    if not is_phoenix:
        attributes["gen_ai.usage.total_tokens"] = total
    span = writer.span(trace_id, parent, f"workflow_{run.run_id}", attributes, ERROR if run.status == "failed" else "")
    yield span
    for node in run.nodes:
        yield from _provided_node(writer, run, node, trace_id, span.span_id, is_phoenix)


def _provided_node(
    writer: SpanWriter, run: Workflow, node: Node, trace_id: bytes, parent: bytes, is_phoenix: bool
) -> Iterator[Span]:
    failed = ERROR if node.status in ("failed", "exception") else ""
    given, produced = node.tokens or (0, 0)
    metadata: dict[str, Any] = {
        "node_type": node.node_type, "node_status": node.status, "status": node.status, "status_message": failed,
        "total_tokens": given + produced if node.tokens else None, "total_price": node.price if node.tokens else None,
        "currency": node.currency if node.tokens else None, "app_name": CANARY, "tool_inputs": CANARY,
    }  # fmt: skip
    if node.nested is not None:
        metadata["tool_info"] = {"provider_type": "workflow", "provider_id": CANARY}
    output = {"text": CANARY, "usage": usage_of(node)} if node.tokens and node.node_type != "iteration" else {}
    kind = "LLM" if node.node_type == "llm" else "CHAIN"
    if is_phoenix:
        metadata |= {"node_id": node.node_id, "app_id": run.app_id}
        attributes = _common(kind, metadata, None, True)
        attributes["input.value"] = json.dumps({"query": CANARY, "model_provider": PROVIDER, "model_name": node.model})
        if node.node_type == "llm" and node.tokens:
            attributes |= {"llm.provider": PROVIDER, "llm.model_name": node.model}
            attributes |= {"llm.token_count.prompt": given, "llm.token_count.completion": produced}
    else:
        metadata |= {"node_id": "graph-id", "node_execution_id": node.node_id, "total_tokens": given + produced}
        metadata |= {"prompt_tokens": given, "completion_tokens": produced}
        attributes = _common(kind, metadata, node.node_id, False)
        attributes |= {"gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": produced}
        if node.node_type in ("llm", "question-classifier", "parameter-extractor"):
            attributes |= {"gen_ai.request.model": node.model, "gen_ai.provider.name": PROVIDER}
    attributes["output.value"] = json.dumps(output)
    span = writer.span(trace_id, parent, f"{node.node_type}_{CANARY}", attributes, failed)
    yield span
    for index, inner in enumerate(node.inside):
        wrapper = span
        if not is_phoenix:
            synthetic = {"dify.span.id": f"{node.node_id}:{index}", "dify.span.synthetic": True}
            attributes = {"openinference.span.kind": "CHAIN", "metadata": json.dumps({"x": CANARY}), **synthetic}
            wrapper = writer.span(trace_id, span.span_id, f"iteration[{index}]", attributes)
            yield wrapper
        yield from _provided_node(writer, run, inner, trace_id, wrapper.span_id, is_phoenix)
    if node.nested is not None:
        yield from _provided(writer, node.nested, trace_id, span.span_id, is_phoenix)


def _provided_message(writer: SpanWriter, run: Message, trace_id: bytes, is_phoenix: bool) -> Iterator[Span]:
    metadata = {
        "trace_entity_type": "message", "app_id": run.app_id, "message_id": run.message_id, "status": "normal",
        "workflow_run_id": None, "ls_provider": PROVIDER, "ls_model_name": run.model, "file_list": CANARY,
        "total_tokens": sum(run.tokens), "conversation_mode": run.mode, "gen_ai_server_time_to_first_token": 0.31,
    }  # fmt: skip
    counts = dict(zip(("input", "output", "total"), (*run.tokens, sum(run.tokens)), strict=True))
    own = {f"gen_ai.usage.{name}_tokens": count for name, count in counts.items()}
    message = writer.span(
        trace_id, b"", "message", _common("CHAIN", metadata, run.message_id, is_phoenix) | ({} if is_phoenix else own)
    )
    yield message
    attributes = _common("LLM", metadata, f"{run.message_id}:llm", is_phoenix) | {
        "llm.input_messages.0.content": CANARY
    }
    if is_phoenix:
        attributes |= {"llm.model_name": run.model, "llm.token_count.prompt": run.tokens[0]}
        attributes |= {"llm.token_count.completion": run.tokens[1], "llm.token_count.total": sum(run.tokens)}
    else:
        attributes |= own | {"gen_ai.request.model": run.model, "gen_ai.provider.name": PROVIDER}
        attributes["dify.span.synthetic"] = True
    yield writer.span(trace_id, message.span_id, "llm", attributes)
    repeated = metadata | {"trace_entity_type": "suggested_question"}
    yield writer.span(trace_id, message.span_id, "suggested_question", _common("TOOL", repeated, "q", is_phoenix))


def _common(kind: str, metadata: dict[str, Any], span_id: str | None, is_phoenix: bool) -> dict[str, Any]:
    unified = {} if is_phoenix or span_id is None else {"dify.span.id": span_id, "dify.span.synthetic": False}
    return {
        "openinference.span.kind": kind, "metadata": json.dumps(metadata), "session.id": CANARY,
        "input.value": CANARY, "output.value": CANARY, **unified,
    }  # fmt: skip


def requests_of(spans: Sequence[ScopedSpan], resource: dict[str, Any], size: int = 1) -> list[bytes]:
    """Requests of at most `size` spans each."""
    found = []
    for begin in range(0, len(spans), size):
        request = ExportTraceServiceRequest()
        for each in spans[begin : begin + size]:
            request.MergeFromString(request_of([each.span], each.scope, resource))
        found.append(request.SerializeToString())
    return found


PHOENIX = {"openinference.project.name": "default", "model_id": "default"}
OTEL = {"service.name": "dify"}
NATIVE = {"service.name": "langgenius/dify", "process.pid": 1, "host.name": "host"}
