"""The facts of all dialects: which attributes their lines have."""

from typing import Any, NamedTuple

from parsers.batch import RUN_KINDS, UNKNOWN
from parsers.dify.labels import node_type_of
from parsers.tracing.calls import ModelCall
from parsers.tracing.line import (
    LLM_SUFFIX,
    MESSAGE,
    NODE,
    RUN_ID,
    WORKFLOW,
    encode,
    run_alias,
    start_key,
    usage_key,
)
from parsers.tracing.outcome import kind_of_failure
from parsers.tracing.reading import Fact
from parsers.tracing.span import Span
from parsers.tracing.values import seconds_of, uuid_of

#: The nodes whose tokens are those of the nodes inside.
CONTAINERS = frozenset({"iteration", "loop"})

#: A run or node that waits for a person. The same id comes again when it has ended.
_WAITING = "paused"


class Origin(NamedTuple):
    """Where a fact comes from. `at` is its end in nanoseconds; the ids of a span are "" where there is no span.

    `self_` is the span itself if other spans look up their app in it, `parent` the span whose app the fact has.
    """

    dialect: str
    at: int
    app_id: str | None
    trace_id: str = ""
    span_id: str = ""
    self_: str | None = None
    parent: str | None = None

    def fact(self, event: str, key: str, attributes: dict[str, Any], rest: Fact | None = None) -> Fact:
        head = {"dify.span.dialect": self.dialect, "dify.span.key": key, "dify.app_id": uuid_of(self.app_id)}
        spans = {"dify.span.self": self.self_, "dify.span.parent": self.parent}
        line = encode(event, self.at, {**head, **attributes, **spans}, self.trace_id, self.span_id)
        return Fact(key, self.dialect, line, rest)

    def link(self, event: str) -> Fact:
        """Return the fact of a span without any other fact: its app, which other spans look up."""
        return self.fact(event, f"span:{self.self_}", {})


def origin_of(span: Span, dialect: str, app_id: object) -> Origin:
    return Origin(dialect, span.end, uuid_of(app_id), span.trace_id, span.span_id)


class Node(NamedTuple):
    """A node execution. `node_id` is that part of its key, None if it has no id of its own.

    `run_id` is the part of the run's key, where the node is the start of a run whose span does not know its id.
    """

    node_id: str | None
    node_type: Any
    status: str
    seconds: Any
    call: ModelCall = ModelCall()
    error: object = None
    is_container: bool = False
    run_id: str | None = None


def node_fact(node: Node, origin: Origin) -> Fact | None:
    """Return None for a node that waits for a person."""
    if node.status == _WAITING:
        return None
    key = f"node:{node.node_id}" if node.node_id else f"span:{origin.trace_id}:{origin.span_id}"
    node_type = node_type_of(node.node_type)
    is_container = node_type in CONTAINERS or node.is_container
    is_required = node_type == "llm" and node.status == "succeeded"
    usage = {} if is_container else node.call.attributes("node", is_required)
    run = {
        "dify.node.type": node_type,
        "dify.node.status": node.status,
        "dify.node.elapsed_time": seconds_of(node.seconds),
        "dify.error.kind": kind_of_failure(node.status, node.error, "node_failed"),
    }
    if node.run_id and origin.parent:
        return _start_fact(key, run, node.run_id, origin.parent, origin)
    if not usage and origin.self_ is None and origin.app_id is None:
        origin = origin._replace(parent=None)  # nothing of it needs an app
    rest = None
    if node.node_id and (attempt := usage_key(node.node_id, usage)) is not None:
        rest = origin.fact(NODE, attempt, usage)
    elif node.node_id and origin.self_ is not None:
        rest = origin.link(NODE)
    return origin.fact(NODE, key, run | usage, rest)


def _start_fact(key: str, run: dict[str, Any], run_id: str, parent: str, origin: Origin) -> Fact:
    """The span of the run is the parent. Its two keys stay known, also if another channel has sent the node before."""
    name = {RUN_ID: run_id}
    fact = origin.fact(NODE, key, run | name, origin.fact(NODE, start_key(parent), name))
    return fact._replace(alias=run_alias(parent, run_id))


class Outcome(NamedTuple):
    """How a run ended. `error` is the text of its error, which is only classified."""

    status: str
    seconds: Any
    error: object = None


def workflow_fact(key: str, mode: str, outcome: Outcome, origin: Origin) -> Fact | None:
    """The run of a workflow or chatflow; `mode` is `workflow`, `advanced-chat` or `unknown`.

    A run that waits for a person only names the app of its nodes, if they look it up in its span.
    """
    if outcome.status == _WAITING:
        return origin.link(NODE) if origin.self_ else None
    has_failed = kind_of_failure(outcome.status, outcome.error, "run_failed") is not None
    run = {
        "dify.app.mode": mode,
        "dify.workflow.status": outcome.status,
        "dify.workflow.elapsed_time": seconds_of(outcome.seconds),
        "dify.error.kind": "run_failed" if has_failed else None,
    }
    has_link = origin.self_ is not None and not key.startswith("span:")
    fact = origin.fact(WORKFLOW, key, run, origin.link(WORKFLOW) if has_link else None)
    return fact._replace(run_app=origin.app_id or "")


def message_fact(message_id: str, mode: object, outcome: Outcome, origin: Origin, call: ModelCall | None) -> Fact:
    """The run of a chat, agent or completion app. Its tokens come separately (`message_usage_fact`), or with `call`."""
    run = {
        "dify.conversation.mode": mode if isinstance(mode, str) and mode in RUN_KINDS else UNKNOWN,
        "dify.message.status": outcome.status,
        "dify.message.duration": seconds_of(outcome.seconds),
        "dify.error.kind": kind_of_failure(outcome.status, outcome.error, "run_failed"),
    }
    if call is None:
        return origin.fact(MESSAGE, f"message:{message_id}", run)
    rest = message_usage_fact(message_id, mode, call, origin)
    return origin.fact(MESSAGE, f"message:{message_id}", run | call.attributes("message"), rest)


def message_usage_fact(message_id: str, mode: object, call: ModelCall, origin: Origin) -> Fact | None:
    """The tokens of a message, None if it has none: Dify sends none of a message that was stopped.

    The mode of its app says whether they are those of one call.
    """
    usage = call.attributes("message")
    if not usage:
        return None
    key = f"message:{message_id}{LLM_SUFFIX}"
    known_mode = mode if isinstance(mode, str) and mode in RUN_KINDS else None
    return origin.fact(MESSAGE, key, {"dify.conversation.mode": known_mode, **usage})
