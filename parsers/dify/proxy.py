"""The log line of our proxy, in the envelope of Dify's JSON lines. The proxy writes this struct, the parser reads it.

Numbers are checked when they are read. A wrong number is dropped; the rest of its line counts.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from parsers.access.routes import INVALID, STATIC, RouteInformation, Routes
from parsers.batch import UNKNOWN, Active, DroppedLines, Failure, FirstToken, Record, Request, Usage, UsageMissing
from parsers.dify.error_body import CAUSE_BY_CODE, CAUSES, CONCURRENCY_LIMIT, KINDS
from parsers.dify.telemetry import app_id_of, name_of
from parsers.dify.tokens import TokenCounts
from parsers.dropped import dropped, dropped_values
from parsers.values import json as lenient_json
from parsers.values.currencies import currency_of
from parsers.values.http import failure_of, method_of, status_code_of
from parsers.values.numbers import money, nanoseconds, token_count

EVENT = b'"dify.proxy.'
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


_decode_attributes = lenient_json.decoder(ProxyAttributes)
_decode_members = lenient_json.decoder(dict[str, Any])


def records(raw: bytes, at: int | None, routes: Routes) -> list[Record] | None:
    """Return the records of a proxy line, from the JSON of its attributes; None if they are not those of the proxy."""
    attributes = _attributes(raw)
    if attributes is None:
        return None
    found: list[Record] = []
    if attributes.worker and (active := token_count(attributes.active_requests)) is not None:
        found.append(Active(attributes.worker[:64], active, at))
    if lines := token_count(attributes.dropped_lines):
        found.append(DroppedLines(lines))
    if attributes.event == REQUEST_EVENT:
        found += _request(attributes, at, routes)
    return found


def _attributes(raw: bytes) -> ProxyAttributes | None:
    """Decode attributes. A value of the wrong type is dropped."""
    try:
        return _decode_attributes(raw)
    except (ValueError, RecursionError):
        pass
    try:
        members = _decode_members(raw)
    except (ValueError, RecursionError):
        return None
    entries = members.get("dify.proxy.usage")
    if isinstance(entries, list):
        members["dify.proxy.usage"] = [_valid(entry, UsageEntry) for entry in entries if isinstance(entry, dict)]
    valid = _valid(members, ProxyAttributes)
    return msgspec.convert(valid, ProxyAttributes) if "dify.event.name" in valid else None


def _valid(members: dict[str, Any], struct: type[Struct]) -> dict[str, Any]:
    """Return the members whose values have the type of the struct's field."""
    types = {each.encode_name: each.type for each in structs.fields(struct)}
    return {name: value for name, value in members.items() if _has_type(value, types.get(name, Any))}


def _has_type(value: object, type: object) -> bool:
    try:
        msgspec.convert(value, type)
    except msgspec.ValidationError:
        return False
    return True


def _request(attributes: ProxyAttributes, at: int | None, routes: Routes) -> Iterable[Record]:
    route = _route(attributes.route, routes)
    app_id = app_id_of(attributes.app_id)
    status, size = token_count(attributes.status_code), token_count(attributes.response_size)
    status_code = status_code_of(b"" if status is None else b"%d" % status)
    duration, first_byte = nanoseconds(attributes.duration), nanoseconds(attributes.time_to_first_byte)
    method, cause = method_of(attributes.method.encode()), _cause(attributes)
    yield Request(
        method,
        route,
        status_code,
        _failure(attributes, status_code, cause),
        response_bytes=size,
        durations=() if duration is None else (duration,),
        first_bytes=() if first_byte is None else (first_byte,),
    )
    if cause in KINDS:
        yield Failure(cause)
    for entry in attributes.usage:
        yield from _usage(entry, app_id, at)
    first_token = nanoseconds(attributes.time_to_first_token)
    values, parsed = _values(attributes), (status, duration, first_byte, size, first_token)
    if values.count(None) < parsed.count(None):
        for field, value, number in zip(_FIELDS, values, parsed, strict=True):
            yield from dropped(field, value, number)
    if first_token is not None:
        yield FirstToken(app_id, name_of(attributes.usage[0].model if attributes.usage else None), first_token)
    is_answered = status_code.startswith("2") and attributes.outcome in ("", "ok")
    needs_usage = is_answered and method == "POST" and _reports_usage(routes.information(route))
    if needs_usage and (reason := _missing_reason(attributes.usage)):
        yield UsageMissing(app_id, reason)


def _reports_usage(kind: RouteInformation) -> bool:
    """Return whether responses of a route report their usage: those of apps that are called with an API key.

    Other responses that call a model, such as transcripts of speech, never report it, and neither does the web app.
    """
    return kind.area == "service_api" and kind.model == "yes" and kind.streaming != "no"


_FIELDS = ("status_code", "duration", "first_byte", "bytes", "first_token")


def _values(attributes: ProxyAttributes) -> tuple[Any, ...]:
    """Return the values of _FIELDS, None where a line has none."""
    return (
        attributes.status_code,
        attributes.duration,
        attributes.time_to_first_byte,
        attributes.response_size,
        attributes.time_to_first_token,
    )


def _route(route: str, routes: Routes) -> str:
    """Return a route label. The proxy writes templates; any other text is looked up as a path."""
    if not route:
        return UNKNOWN
    is_known = routes.information(route).area != "other" or route in (STATIC, INVALID, UNKNOWN)
    return route if is_known else routes.of_path(route.encode())


def _usage(entry: UsageEntry, app_id: str, at: int | None) -> Iterable[Record]:
    cost = money(entry.total_price)
    yield from dropped("price", entry.total_price, cost)
    yield from dropped_values("tokens", entry.token_counts.invalid)
    tokens = entry.token_counts.split
    if any(tokens) or cost:
        model = name_of(entry.provider), name_of(entry.model)
        yield Usage(app_id, *model, *tokens, cost, currency_of(entry.currency), at)


def _missing_reason(usage: Sequence[UsageEntry]) -> str:
    """Return why the usage of a whole request (one entry per model) is missing or wrong; "" if it is complete."""
    needed = [entry for entry in usage if not _is_empty_total(entry)]
    if usage and not needed:
        return ""
    reasons = {entry.token_counts.missing for entry in needed}
    if "inconsistent" in reasons:
        return "inconsistent"
    return "absent" if not reasons else "" if "" in reasons else "zero" if "zero" in reasons else "absent"


def _is_empty_total(entry: UsageEntry) -> bool:
    """Return whether an entry is the total of a workflow that used no tokens, so that it has no usage to report."""
    return entry.model is None and entry.token_counts == TokenCounts(total=0)


_FAILURE_BY_OUTCOME = {
    "client_closed": "client_closed",
    "run_failed": "run_failed",
    "stream_error": "stream_error",
    "upstream_timeout": "timeout",
}

#: Any other cause is a `provider_error`.
_FAILURE_BY_CAUSE = {
    CONCURRENCY_LIMIT: "rate_limited",
    "quota_exceeded": "quota_exceeded",
    "not_initialized": "not_initialized",
}


def _cause(attributes: ProxyAttributes) -> str:
    """Return one of CAUSES, "" if the cause is not known. Lines of earlier versions have only the error code."""
    if attributes.error_kind in CAUSES:
        return attributes.error_kind
    return CAUSE_BY_CODE.get(attributes.error_code or "", "")


def _failure(attributes: ProxyAttributes, status_code: str, cause: str) -> str:
    """Return the failure reason: by the outcome that the proxy saw, the cause of a refusal, or the status code."""
    if reason := _FAILURE_BY_OUTCOME.get(attributes.outcome):
        return reason
    if cause and status_code.startswith("4") and status_code != "429":
        return _FAILURE_BY_CAUSE.get(cause, "provider_error")
    is_broken = attributes.outcome in ("upstream_reset", "upstream_refused")
    return failure_of(status_code) or ("stream_error" if is_broken else "")
