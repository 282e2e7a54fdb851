"""The lines of the receiver, in the envelope of Dify's JSON lines: how they are written, and their keys.

`parsers.dify.receiver` reads them. The names are those of Dify's telemetry (`parsers.dify.telemetry`), and:

* `dify.span.key`: the key of the fact; `dify.span.dialect`: one of DIALECTS.
* `dify.span.self`: the span itself (trace id and span id), where other spans ask it for their app.
* `dify.span.parent`: the parent span, where the app of the line is that of the parent.
* A line without a status counts no run: it only tells tokens, or the app of a span.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from parsers.dify.receiver import HEARTBEAT, SERVICE
from parsers.tracing.reading import Fact
from parsers.values.numbers import MILLISECOND, token_count
from parsers.values.times import LATEST

NODE, MESSAGE, WORKFLOW = "dify.node.execution", "dify.message.run", "dify.workflow.run"


INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.total_tokens",
)

#: The end of the key of a message's tokens.
LLM_SUFFIX = ":llm"
#: Behind it follows the total of a node's tokens, which tells two attempts of one node apart.
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
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def is_time(at: int) -> bool:
    """Return whether a line can have this time: from 1970 to 2261, in nanoseconds since the epoch."""
    return 0 < at <= LATEST


def usage_key(node_id: str, attributes: Mapping[str, Any]) -> str | None:
    """Return the key of the tokens of a node's attempt, None if there are none."""
    counts = [token_count(attributes.get(name)) for name in (INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS)]
    total = (counts[0] or 0) + (counts[1] or 0) or counts[2]
    return f"{_USAGE_KEY}{node_id}:{total}" if total else None


def fact_of(key: str, dialect: str, line: bytes, rest: tuple[str, bytes] | None = None) -> Fact:
    return Fact(key, dialect, line, Fact(rest[0], dialect, rest[1]) if rest else None)


class _Attributes(Struct, frozen=True, gc=False):
    key: str = field(name="dify.span.key")
    self_: Any = field(default=None, name="dify.span.self")
    input: Any = field(default=None, name=INPUT_TOKENS)
    output: Any = field(default=None, name=OUTPUT_TOKENS)
    total: Any = field(default=None, name=TOTAL_TOKENS)
    price: Any = field(default=None, name="dify.message.total_price")


class _Line(Struct, frozen=True, gc=False):
    service: str
    attributes: _Attributes


_decode = msgspec.json.Decoder(_Line).decode


def keys_of(line: bytes) -> tuple[str, ...]:
    """Return all keys that a line of ours makes known (that of its `rest` too), nothing for any other line."""
    try:
        decoded = _decode(line)
    except (ValueError, RecursionError):
        return ()
    if decoded.service != SERVICE:
        return ()
    attributes = decoded.attributes
    keys, (kind, _, node_id) = [attributes.key], attributes.key.partition(":")
    counts = attributes.input, attributes.output, attributes.total
    if kind == "node":
        names = INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS
        attempt = usage_key(node_id, dict(zip(names, counts, strict=True)))
        keys += [attempt] if attempt else []
    has_usage = any(each is not None for each in (*counts, attributes.price))
    if kind == "message" and has_usage and not node_id.endswith(LLM_SUFFIX):
        keys.append(attributes.key + LLM_SUFFIX)
    if isinstance(attributes.self_, str) and kind != "span":
        keys.append(f"span:{attributes.self_}")
    return tuple(keys)


def heartbeat_line(items: Mapping[tuple[str, str], int], at: int) -> bytes:
    """Return the line `dify.receiver.heartbeat`, with its newline.

    `items` counts the items since the heartbeat before, by dialect and outcome (DIALECTS, OUTCOMES); `at` is the time
    in nanoseconds since the epoch.
    """
    counts = [
        {"dialect": dialect, "outcome": outcome, "count": count}
        for (dialect, outcome), count in sorted(items.items())
        if count
    ]
    return encode(HEARTBEAT, at, {"dify.receiver.items": counts})
