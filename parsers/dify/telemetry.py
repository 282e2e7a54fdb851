"""Structured telemetry events of enterprise builds (api/enterprise/telemetry), generations A, B and C.

The envelope's trace and identity are the Celery task's, so only the attributes count. A and B write nulls, C
leaves them out, adds `dify.usage` and renames the currency.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parsers.batch import OTHER, RUN_KINDS, UNKNOWN, DroppedValue, FirstToken, NodeRun, Record, Run, Usage, UsageMissing
from parsers.dify.tokens import Told
from parsers.dropped import dropped, dropped_of
from parsers.values import json as lenient_json
from parsers.values.currencies import currency_of
from parsers.values.numbers import money, nanoseconds

Attributes = Mapping[str, Any]

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME_LENGTH = 128

#: api/core/workflow/enums.py, NodeType; and the statuses of its nodes and runs, and of messages.
_NODE_TYPES = frozenset(
    """start end answer llm knowledge-retrieval knowledge-index if-else code template-transform question-classifier
    http-request tool datasource variable-aggregator legacy-variable-aggregator loop loop-start loop-end iteration
    iteration-start parameter-extractor assigner variable-assigner document-extractor list-operator agent agent-v2
    human-input trigger-webhook trigger-schedule trigger-plugin""".split()
)
_STATUSES = frozenset(
    """scheduled pending running succeeded failed stopped partial-succeeded paused skipped exception retry normal
    error""".split()
)
_CONTAINERS = frozenset({"iteration", "loop"})

_MODEL = "gen_ai.request.model"
_CURRENCIES = ("dify.node.currency", "dify.prompt_generation.currency", "dify.cost.currency", "dify.usage.currency")
_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.total_tokens")


_decode = lenient_json.decoder(dict[str, Any])


def records(raw: bytes, at: int | None) -> list[Record]:
    """The records of an event, in the attributes of its line; an event that nobody counts has none."""
    try:
        attributes = _decode(raw)
    except (ValueError, RecursionError):
        return []
    return records_of(attributes, at)


def records_of(attributes: Attributes, at: int | None) -> list[Record]:
    """The same, of attributes that are decoded."""
    event = attributes.get("dify.event.name")
    read = _EVENTS.get(event) if isinstance(event, str) else None
    return read(attributes, at) if read and not _repeats(attributes) else []


def _repeats(attributes: Attributes) -> bool:
    """Generation C logs copies of spans, whose usage their parent tells too (api/core/ops/workflow_trace.py): each
    attempt of a node that was retried, the steps of an agent. Without content only an attempt's name shows it.
    """
    name, attempt = attributes.get("dify.span.name"), attributes.get("dify.node.attempt")
    is_attempt = isinstance(name, str) and isinstance(attempt, int) and name.endswith(f" attempt {attempt + 1}")
    return is_attempt or attributes.get("metrics_from_parent") is True


def name_of(value: object) -> str:
    """A provider's or a model's name as a label."""
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else UNKNOWN


def app_id_of(value: object) -> str:
    """An app id: a UUID, anything else is unknown."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else UNKNOWN


def one_of(value: object, known: frozenset[str]) -> str:
    """A member of a closed set, `other` outside it, `unknown` where nothing is told."""
    if not isinstance(value, str) or value in ("", UNKNOWN):
        return UNKNOWN
    return value if value in known else OTHER


def node_type_of(value: object) -> str:
    """A node's type, of the closed set of them."""
    return one_of(value, _NODE_TYPES)


def status_of(value: object) -> str:
    """The status of a node, a run or a message, of the closed set of them."""
    return one_of(value, _STATUSES)


def run_kind_of(mode: object) -> str:
    """The kind of run that a conversation of such a mode is."""
    return mode if isinstance(mode, str) and mode in RUN_KINDS else UNKNOWN


def spends(node_type: str, model: object) -> bool:
    """Whether a node's usage is its own: a container's is told by the events of what is inside it, and a tool without
    a model is a workflow that ran as a tool.
    """
    return node_type not in _CONTAINERS and (node_type != "tool" or name_of(model) != UNKNOWN)


def owes(node_type: str, status: str) -> bool:
    """Whether a node's usage must be there."""
    return node_type == "llm" and status == "succeeded"


def is_told_elsewhere(operation: object) -> bool:
    """Generation C also calls a prompt generation what it has no name for: a message's model call, an agent's steps."""
    return operation in ("llm", "agent")


def _app_id(attributes: Attributes) -> str:
    return app_id_of(attributes.get("dify.app_id"))


def _node(attributes: Attributes, at: int | None) -> list[Record]:
    if attributes.get("dify.trace.links"):  # generation C's trace of a workflow that ran as a tool: its caller's has it
        return []
    node_type = node_type_of(attributes.get("dify.node.type"))
    status = status_of(attributes.get("dify.node.status"))
    duration, unread = _duration(attributes, "dify.node.elapsed_time")
    found: list[Record] = [NodeRun(node_type, status, duration), *unread]
    if not spends(node_type, attributes.get(_MODEL)):
        return found
    price = _price(attributes, "dify.node.total_price")
    return found + _spent(attributes, at, price, owed=owes(node_type, status))


def _workflow(attributes: Attributes, _: int | None) -> list[Record]:
    """A run of its own; its tokens are the sum of its nodes', which are counted there."""
    in_chat = attributes.get("dify.conversation.id") or attributes.get("dify.message.id")
    kind, status = "advanced-chat" if in_chat else "workflow", status_of(attributes.get("dify.workflow.status"))
    duration, unread = _duration(attributes, "dify.workflow.elapsed_time")
    return [Run(kind, _app_id(attributes), status, duration), *unread]


def _message(attributes: Attributes, at: int | None) -> list[Record]:
    """With a workflow's run id it is that run's message: neither a second run nor a second use of tokens."""
    first, unread = _duration(attributes, "dify.message.time_to_first_token", "first_token")
    found: list[Record] = [*unread]
    app_id = _app_id(attributes)
    if first is not None:
        found.append(FirstToken(app_id, name_of(attributes.get(_MODEL)), first))
    if attributes.get("dify.workflow.run_id"):
        return found
    kind = run_kind_of(attributes.get("dify.conversation.mode"))
    status = status_of(attributes.get("dify.message.status"))
    duration, unread = _duration(attributes, "dify.message.duration")
    found += [Run(kind, app_id, status, duration), *unread]
    return found + _spent(attributes, at, _price(attributes))


def _prompt_generation(attributes: Attributes, at: int | None) -> list[Record]:
    if is_told_elsewhere(attributes.get("dify.prompt_generation.operation_type")):
        return []
    return _spent(attributes, at, _price(attributes, "dify.prompt_generation.total_price"))


def _suggested_question(attributes: Attributes, at: int | None) -> list[Record]:
    return _spent(attributes, at, _price(attributes))


_EVENTS: Mapping[str, Callable[[Attributes, int | None], list[Record]]] = {
    "dify.node.execution": _node,
    "dify.node.execution.draft": _node,
    "dify.workflow.run": _workflow,
    "dify.message.run": _message,
    "dify.prompt_generation.execution": _prompt_generation,
    "dify.suggested_question.generation": _suggested_question,
}


def _spent(attributes: Attributes, at: int | None, price: object, *, owed: bool = False) -> list[Record]:
    """What a model call used; `owed` where its usage must be there."""
    told = Told(*map(attributes.get, _TOKENS))
    tokens, cost = told.split, money(price)
    found: list[Record] = [*dropped_of("tokens", told.unread), *dropped("price", price, cost)]
    if any(tokens) or cost:
        model = name_of(attributes.get("gen_ai.provider.name")), name_of(attributes.get(_MODEL))
        found.append(Usage(_app_id(attributes), *model, *tokens, cost, currency_of(_currency(attributes)), at))
    if owed and (reason := told.missing):
        found.append(UsageMissing(_app_id(attributes), reason))
    return found


def _duration(attributes: Attributes, name: str, field: str = "duration") -> tuple[int | None, Sequence[DroppedValue]]:
    """Nanoseconds, and the value where it is no duration."""
    value = attributes.get(name)
    duration = nanoseconds(value)
    return duration, dropped(field, value, duration)


def _price(attributes: Attributes, *names: str) -> object:
    """The first price that is told; generation C has it in `dify.usage`, as an object or under dotted names."""
    for name in (*names, "dify.usage.total_price"):
        if (price := attributes.get(name)) is not None:
            return price
    usage = attributes.get("dify.usage")
    return usage.get("total_price") if isinstance(usage, dict) else None


def _currency(attributes: Attributes) -> object:
    for name in _CURRENCIES:
        if told := attributes.get(name):
            return told
    usage = attributes.get("dify.usage")
    return usage.get("currency") if isinstance(usage, dict) else None
