"""The lines of the receiver, in the envelope of Dify's JSON lines: how they are written, and their keys.

`parsers.dify.receiver` reads them. The names are those of Dify's telemetry (`parsers.dify.telemetry`), and:

* `dify.span.key`: the key of the fact; `dify.span.dialect`: one of TRACING_DIALECTS.
* `dify.span.self`: the span itself (trace id and span id), if other spans look up their app in it.
* `dify.span.parent`: the parent span, if the app of the line is that of the parent.
* `dify.workflow.run_id`: the run that the node starts. The parent is the span of that run.
* `dify.span.draft`: the attributes of a run that may be in the log under another key. It does not count yet.
* A line without a status counts no run: it has only tokens, or the app of a span.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from parsers.dify.receiver import HEARTBEAT, SERVICE
from parsers.tracing.reading import Fact
from parsers.values.numbers import MILLISECOND, token_count
from parsers.values.times import LATEST

NODE, MESSAGE, WORKFLOW = "dify.node.execution", "dify.message.run", "dify.workflow.run"
INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
TOTAL_TOKENS = "gen_ai.usage.total_tokens"
_TOKENS = (INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS)

#: The end of the key of a message's tokens.
LLM_SUFFIX = ":llm"
#: The attribute of a start node's line that names its run, as in the run's key.
RUN_ID = "dify.workflow.run_id"
#: The attribute that holds the other attributes of a draft, and the begin of its key.
_DRAFT, _DRAFT_KEY = "dify.span.draft", "draft:"
#: The attributes of a draft that are true already: the app of a span, for the nodes that ask for it.
_OF_ALL = frozenset(
    {"dify.event.name", "dify.span.dialect", "dify.span.key", "dify.app_id", "dify.span.self", "dify.span.parent"}
)
#: The beginning of a key that ends with the total of a node's tokens, which distinguishes two attempts of one node.
_USAGE_KEY = "usage:"


def encode(event: str, at: int, attributes: Mapping[str, Any], trace_id: str = "", span_id: str = "") -> bytes:
    """Return a whole ASCII line with its newline. Attributes that are None are left out; `at` is in nanoseconds."""
    moment = datetime.fromtimestamp(at // MILLISECOND // 1000, UTC)
    ids = {name: value for name, value in (("trace_id", trace_id), ("span_id", span_id)) if value}
    line = {
        "ts": f"{moment:%Y-%m-%dT%H:%M:%S}.{at // MILLISECOND % 1000:03d}Z",
        "severity": "INFO",
        "service": SERVICE,
        "caller": "receive",
        "message": event,
        **ids,
        "attributes": {
            "dify.event.name": event,
            **{name: value for name, value in attributes.items() if value is not None},
        },
    }
    return _encode_json(line)


def _encode_json(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def is_time(at: int) -> bool:
    """Return whether a line can have this time: from 1970 to 2261, in nanoseconds since the epoch."""
    return 0 < at <= LATEST


def usage_key(node_id: str, attributes: Mapping[str, Any]) -> str | None:
    """Return the key of the tokens of a node's attempt, None if there are none."""
    counts = [token_count(attributes.get(name)) for name in _TOKENS]
    total = (counts[0] or 0) + (counts[1] or 0) or counts[2]
    return f"{_USAGE_KEY}{node_id}:{total}" if total else None


def start_key(span: str) -> str:
    """Return the key of what a start node says about the span of its run: the run's other key."""
    return f"start:{span}"


def run_alias(span: str, run_id: str) -> tuple[str, str]:
    """Return the two keys of a run: that of its span, and that of its id."""
    return f"span:{span}", f"run:{run_id}"


def draft_of(fact: Fact) -> Fact:
    """Return what is written instead of a run until it is known that the run is not in the log under another key."""
    line = json.loads(fact.line)
    attributes: dict[str, Any] = line["attributes"]
    key = _DRAFT_KEY + fact.key
    draft = {name: attributes.pop(name) for name in list(attributes) if name not in _OF_ALL}
    line["attributes"] = {**attributes, "dify.span.key": key, _DRAFT: draft}
    return fact._replace(key=key, line=_encode_json(line), run_app=None)


def is_draft(fact: Fact) -> bool:
    return fact.key.startswith(_DRAFT_KEY)


def run_of_draft(draft: bytes) -> Fact:
    """Return the run of a draft's line."""
    line = json.loads(draft)
    attributes = line["attributes"]
    key = attributes["dify.span.key"].removeprefix(_DRAFT_KEY)
    line["attributes"] = {**attributes, "dify.span.key": key, **attributes.pop(_DRAFT)}
    return Fact(key, attributes.get("dify.span.dialect", ""), _encode_json(line), run_app=attributes.get("dify.app_id"))


class _Line(Struct, frozen=True, gc=False):
    service: str
    attributes: dict[str, Any]


_decode = msgspec.json.Decoder(_Line).decode


class Known(NamedTuple):
    """What a line in the log makes known: its keys (that of its `rest` too), and as in `Fact` its alias and run.

    `draft` is the line itself, if it is the draft of a run.
    """

    keys: tuple[str, ...] = ()
    alias: tuple[str, str] | None = None
    run_app: str | None = None
    draft: bytes | None = None


def known_by(line: bytes) -> Known:
    """Return what a line makes known: nothing, if it is not one of ours."""
    try:
        decoded = _decode(line)
    except (ValueError, RecursionError):
        return Known()
    attributes = decoded.attributes
    texts = {name: value for name, value in attributes.items() if isinstance(value, str)}
    if decoded.service != SERVICE or (key := texts.get("dify.span.key")) is None:
        return Known()
    keys, (kind, _, node_id), alias = [key], key.partition(":"), None
    parent, run_id, own_span = (texts.get(name) for name in ("dify.span.parent", RUN_ID, "dify.span.self"))
    if parent is not None and run_id is not None:
        alias = run_alias(parent, run_id)
        keys.append(start_key(parent))
    if kind == "node" and (attempt := usage_key(node_id, attributes)):
        keys.append(attempt)
    has_usage = any(attributes.get(name) is not None for name in (*_TOKENS, "dify.message.total_price"))
    if kind == "message" and has_usage and not node_id.endswith(LLM_SUFFIX):
        keys.append(key + LLM_SUFFIX)
    # A line with another key than that of its span also names the app of that span.
    if own_span is not None and not key.removeprefix(_DRAFT_KEY).startswith("span:"):
        keys.append(f"span:{own_span}")
    is_run = texts.get("dify.event.name") == WORKFLOW and attributes.get("dify.workflow.status") is not None
    draft = line if kind == "draft" and isinstance(attributes.get(_DRAFT), dict) else None
    return Known(tuple(keys), alias, texts.get("dify.app_id", "") if is_run else None, draft)


def heartbeat_line(items: Mapping[tuple[str, str], int], at: int) -> bytes:
    """Return the line `dify.receiver.heartbeat`, with its newline.

    `items` counts the items since the heartbeat before, by dialect and outcome (TRACING_DIALECTS, TRACING_OUTCOMES);
    `at` is the time in nanoseconds since the epoch.
    """
    counts = [
        {"dialect": dialect, "outcome": outcome, "count": count}
        for (dialect, outcome), count in sorted(items.items())
        if count
    ]
    return encode(HEARTBEAT, at, {"dify.receiver.items": counts})
