"""The line of our proxy in the envelope of Dify's JSON lines. The proxy writes these structs, the parser reads them."""

import json

import msgspec
from msgspec import Struct, field

from parsers.dify.telemetry import ModelCall, Price, Seconds, Text, TokenCount
from parsers.dify.tokens import TokenCounts

SERVICE = "dify-exporter-proxy"


class UsageEntry(ModelCall, frozen=True, gc=False):
    """Tokens and price of one model. Prices are decimal strings in units of `currency`."""

    price: Price = field(default=None, name="dify.total_price")
    currency: Text = field(default=None, name="dify.currency")

    @property
    def token_counts(self) -> TokenCounts:
        return TokenCounts(self.input_tokens, self.output_tokens, self.total_tokens)


class ProxyAttributes(
    Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    kw_only=True,
    tag_field="dify.event.name",
    tag="dify.proxy.request",
):
    """A finished request, and the state of its worker.

    Durations are in seconds, sizes in bytes. Values that are not known are left out.
    """

    method: str = field(default="", name="http.request.method")
    route: str = field(default="", name="http.route")
    status_code: TokenCount = field(default=None, name="http.response.status_code")
    duration: Seconds = field(default=None, name="http.server.request.duration")
    time_to_first_byte: Seconds = field(default=None, name="dify.proxy.time_to_first_byte")
    time_to_first_token: Seconds = field(default=None, name="gen_ai.server.time_to_first_token")
    request_size: TokenCount = field(default=None, name="http.request.body.size")
    response_size: TokenCount = field(default=None, name="http.response.body.size")
    outcome: str = field(default="", name="dify.proxy.outcome")
    streaming: bool | None = field(default=None, name="dify.streaming")
    error_code: Text = field(default=None, name="dify.error.code")
    error_kind: Text = field(default=None, name="dify.error.kind")
    app_id: Text = field(default=None, name="dify.app_id")
    usage: tuple[UsageEntry, ...] = field(default=(), name="dify.proxy.usage")
    worker: str = field(default="", name="dify.proxy.worker")
    active_requests: TokenCount = field(default=None, name="dify.proxy.active_requests")
    dropped_lines: TokenCount = field(default=None, name="dify.proxy.dropped_lines")


class ProxyHeartbeat(ProxyAttributes, frozen=True, gc=False, tag="dify.proxy.heartbeat"):
    """Only the state of a worker."""


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
    attributes: ProxyAttributes | ProxyHeartbeat


def encode(line: ProxyLine) -> bytes:
    """Encode a line as ASCII with a newline. Other characters in its strings are escaped."""
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":")).encode("ascii") + b"\n"
