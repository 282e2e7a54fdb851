"""The log line of our proxy, in the envelope of Dify's JSON lines. The proxy writes this struct, the parser reads it.

Numbers have the type Any, because they are checked when they are read (proxy_records.py).
"""

import json
from typing import Any

import msgspec
from msgspec import Struct, field

from parsers.dify.tokens import TokenCounts

SERVICE = "dify-exporter-proxy"
REQUEST_EVENT = "dify.proxy.request"
HEARTBEAT_EVENT = "dify.proxy.heartbeat"


class UsageEntry(Struct, frozen=True, omit_defaults=True):
    """Tokens and price of one model. Prices are decimal strings in units of `currency`."""

    provider: str | None = field(default=None, name="gen_ai.provider.name")
    model: str | None = field(default=None, name="gen_ai.request.model")
    input_tokens: Any = field(default=None, name="gen_ai.usage.input_tokens")
    output_tokens: Any = field(default=None, name="gen_ai.usage.output_tokens")
    total_tokens: Any = field(default=None, name="gen_ai.usage.total_tokens")
    total_price: Any = field(default=None, name="dify.total_price")
    currency: str | None = field(default=None, name="dify.currency")

    @property
    def token_counts(self) -> TokenCounts:
        return TokenCounts(self.input_tokens, self.output_tokens, self.total_tokens)


class ProxyAttributes(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A finished request, or with the event `dify.proxy.heartbeat` only the state of a worker.

    Durations are in seconds, sizes in bytes. Values that are not known are left out.
    """

    event: str = field(name="dify.event.name")
    method: str = field(default="", name="http.request.method")
    route: str = field(default="", name="http.route")
    status_code: Any = field(default=None, name="http.response.status_code")
    duration: Any = field(default=None, name="http.server.request.duration")
    time_to_first_byte: Any = field(default=None, name="dify.proxy.time_to_first_byte")
    time_to_first_token: Any = field(default=None, name="gen_ai.server.time_to_first_token")
    request_size: Any = field(default=None, name="http.request.body.size")
    response_size: Any = field(default=None, name="http.response.body.size")
    outcome: str = field(default="", name="dify.proxy.outcome")
    streaming: bool | None = field(default=None, name="dify.streaming")
    error_code: str | None = field(default=None, name="dify.error.code")
    error_kind: str | None = field(default=None, name="dify.error.kind")
    app_id: str | None = field(default=None, name="dify.app_id")
    usage: tuple[UsageEntry, ...] = field(default=(), name="dify.proxy.usage")
    worker: str = field(default="", name="dify.proxy.worker")
    active_requests: Any = field(default=None, name="dify.proxy.active_requests")
    dropped_lines: Any = field(default=None, name="dify.proxy.dropped_lines")


class ProxyLine(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The whole line.

    `ts` is a UTC time as Dify writes it, with milliseconds and Z. `message` is METHOD ROUTE STATUS MILLISECONDS.
    """

    ts: str
    severity: str = ""
    service: str = ""
    caller: str = ""
    message: str
    trace_id: str = ""
    attributes: ProxyAttributes


def encode(line: ProxyLine) -> bytes:
    """Encode a line as ASCII with a newline. Other characters in its strings are escaped."""
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> ProxyLine:
    """Decode a line of `encode`. Raises msgspec.ValidationError."""
    return msgspec.json.decode(line, type=ProxyLine)
