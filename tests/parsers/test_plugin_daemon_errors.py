"""ERROR records of the plugin daemon, in text, in JSON, and up to 0.5.2."""

import itertools
import json

import pytest

from parsers.batch import Failure
from parsers.plugin_daemon import PluginDaemon
from tests.parsers.laws import check_linear

HEAD = "2026-11-29T23:30:06.006959055Z ERROR dify-plugin-daemon {}:141 trace_id=972dbc tenant_id=4fad91b4-ff85 "
PLUGIN = "langgenius/openai_api_compatible:0.0.63@ff201c90"


def text(caller: str, message: str, *attributes: str) -> str:
    return " ".join([HEAD.format(caller) + message, *attributes])


def json_line(message: str, /, **attributes: object) -> str:
    line = {"attributes": attributes, "caller": "generic.go:141", "message": message, "service": "dify-plugin-daemon"}
    return json.dumps({**line, "severity": "ERROR", "ts": "2026-11-29T23:30:06.006959055Z"}, separators=(",", ":"))


def quoted(value: str) -> str:
    """Quote like Go's strconv.Quote if the value has a blank or a quote (pkg/utils/log/handler.go, formatValue)."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(' \t\n"') else value


def plugin_error(
    error_type: str, message: str, order: str = "type message args action", args: str | None = None
) -> str:
    """Return a record of internal/core/io_tunnel/generic.go. Go prints the map `args` unquoted, with sorted keys."""
    described = f"description:{message}" if error_type.startswith("Invoke") else ""
    attributes = {
        "type": f"error_type={quoted(error_type)}",
        "message": f"message={quoted(message)}",
        "args": f"args=map[{described if args is None else args}]",
        "action": f"action=invoke_llm plugin={PLUGIN} runtime_type=local session_id=e323e5f3",
    }
    return text("generic.go", "plugin returned error response", *(attributes[name] for name in order.split()))


def kinds_of(line: str) -> list[str]:
    batch = PluginDaemon().parse(line.encode() + b"\n")
    assert (batch.observed, batch.unparsed) == (1, {})
    return [record.kind for record in batch.records if isinstance(record, Failure)]


FAILURES = [
    ("InvokeError", '[models] Error: API request failed with status code 429: {"error": {"message": "slow"}}', "rate_limited"),
    ("InvokeError", "[models] Error: API request failed with status code 500: {}", "provider_unavailable"),
    ("InvokeError", "[models] Error: API request failed with status code 403: {}", "provider_unauthorized"),
    ("InvokeError", '[models] Error: API request failed with status code 400: {"x": "status code 429"}', "provider_error"),
    ("InvokeRateLimitError", "[openai] Rate Limit Error, slow", "rate_limited"),
    ("InvokeServerUnavailableError", "[models] Server Unavailable Error, HTTPConnectionPool(host='x')", "provider_unavailable"),
    ("InvokeAuthorizationError", "[openai] Incorrect model credentials provided, please check and try again. ", "provider_unauthorized"),
    ("ChunkedEncodingError", "Response ended prematurely", "provider_unavailable"),
    ("ValueError", "x", "provider_error"),
    ("my error_type=InvokeRateLimitError", "x", "provider_error"),
]  # fmt: skip


@pytest.mark.parametrize(("error_type", "message", "kind"), FAILURES)
def test_a_plugins_error_has_its_kind_in_any_order_of_its_attributes(error_type: str, message: str, kind: str) -> None:
    orders = [" ".join(order) for order in itertools.permutations(["type", "message", "args", "action"])]
    found = {order: kinds_of(plugin_error(error_type, message, order)) for order in orders}
    assert found == {order: [kind] for order in orders}


@pytest.mark.parametrize(("error_type", "message", "kind"), FAILURES)
def test_a_plugins_error_in_json(error_type: str, message: str, kind: str) -> None:
    args = {"description": message, "traceback": "error_type InvokeRateLimitError: 429"}
    line = json_line("plugin returned error response", error_type=error_type, message=message, args=args)
    assert kinds_of(line) == [kind]


HOSTILE = [
    "] error_type=InvokeRateLimitError",
    '] message="Error code: 429" error_type=InvokeRateLimitError action=x',
    '" error_type=InvokeRateLimitError message="Error code: 429',
    '\\" error_type=InvokeRateLimitError',
    "] error_type=InvokeRateLimitError [",
    "HTTP request status=200 latency_ms=1 path=/plugin/x/dispatch/llm/invoke",
    " i/o timeout",
]


@pytest.mark.parametrize("order", ["args type message", "type args message", "message args type", "type message args"])
@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_quoted_prompt_decides_nothing(prompt: str, order: str) -> None:
    for status, kind in [(400, "provider_error"), (401, "provider_unauthorized")]:
        message = f"[models] Error: API request failed with status code {status}: {prompt}"
        assert kinds_of(plugin_error("InvokeError", message, order)) == [kind]
        args = f"description:{message} traceback:{prompt}"
        assert kinds_of(plugin_error("InvokeError", message, order, args)) == [kind]


def test_a_newline_in_the_providers_text_does_not_change_the_kind() -> None:
    """Only `args` is not quoted. The text behind the newline begins no record."""
    args = "description:[models] Error: API request failed with status code 429: {\n  error_type=InvokeBadRequestError"
    line = plugin_error("InvokeError", "x", "args type message", args)
    batch = PluginDaemon().parse(line.encode() + b"\n")
    assert (batch.records, batch.ignored) == ((Failure("rate_limited"),), 1)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        # Redis or the database is not reachable (internal/cluster/cluster_lifetime.go)
        (text("cluster_lifetime.go", "failed to update the master", 'error="i/o timeout"'), "upstream_timeout"),
        (
            text(
                "cluster_lifetime.go",
                "failed to gc the nodes",
                'n=1 error="dial tcp 10.0.0.2:6379: connect: connection refused"',
            ),
            "upstream_refused",
        ),
        (
            text("x.go", "failed to vote the ips of the nodes", 'error="lookup redis: no such host" n=2'),
            "upstream_unresolved",
        ),
        (text("x.go", "failed to update tasks", 'error="read tcp 1: connection reset by peer"'), "upstream_reset"),
        (
            text("redis.go", "failed to receive message from redis, will retry in 1 second", 'error="i/o timeout"'),
            "upstream_timeout",
        ),
        (text("x.go", "failed to update tasks", "error=EOF"), "other"),
        (text("x.go", "failed to update tasks", 'error="i/o timeout" args=map[a: b]'), "other"),
        (text("x.go", "serverless plugin log", 'message="a error=\\"i/o timeout\\""'), "other"),
        (text("x.go", "no plugin available nodes found"), "other"),
        # internal/types/exception/factory.go
        (
            text(
                "factory.go", "PluginDaemonInternalServerError", 'error="killed by timeout" traceback="goroutine 1\\n"'
            ),
            "upstream_timeout",
        ),
        (text("middleware.go", "panic recovered", 'error="boom"'), "unhandled_exception"),
        (text("pool.go", "panic in routine", 'panic="i/o timeout"'), "unhandled_exception"),
        (
            text("hooks.go", "panic in OnTraffic", "panic=boom", 'traceback="goroutine 1 [running]:\\n"'),
            "unhandled_exception",
        ),
        (text("event.go", "plugin event handler panic", "error=boom", "event_payload={}"), "unhandled_exception"),
        (json_line("panic in routine", panic="boom"), "unhandled_exception"),
        (json_line("failed to update the master", error="i/o timeout"), "upstream_timeout"),
        (json_line("PluginDaemonInternalServerError", error="killed by timeout", traceback="x"), "upstream_timeout"),
        (json_line("panic recovered", error="boom"), "unhandled_exception"),
        (json_line("failed to update tasks", error=7), "other"),
        # up to 0.5.2
        (
            "2025/11/28 08:20:22 cluster_lifetime.go:98: [ERROR]failed to update the master: i/o timeout",
            "upstream_timeout",
        ),
        ("2025/11/28 08:20:22 factory.go:28: [ERROR]PluginDaemonInternalServerError: no available node", "other"),
        (
            "2025/11/28 08:20:22 stdio.go:179: [ERROR]plugin langgenius/agent:0.0.25 has an error on stdout: i/o timeout",
            "other",
        ),
    ],
)
def test_other_errors_of_the_daemon(line: str, kind: str) -> None:
    assert kinds_of(line) == [kind]


def test_a_level_below_error_is_not_a_failure() -> None:
    line = plugin_error("InvokeRateLimitError", "x").replace(" ERROR ", " WARN ")
    assert kinds_of(line) == []


def test_every_kind_of_failure_is_declared() -> None:
    assert {kind for *_, kind in FAILURES} <= PluginDaemon().error_kinds(PluginDaemon().parse(b""))


@pytest.mark.parametrize("noise", [b"\\", b'"', b'\\"', b" a=", b' error_type="', b"failed to ", b": i/o timeout"])
def test_a_log_of_failures_is_read_in_linear_time(noise: bytes) -> None:
    """The log has long records, and many of them."""
    line = plugin_error(*FAILURES[0][:2]).encode()
    check_linear(PluginDaemon(), b"", line + b"\n", b"")
    for begin in (line[:150], line[:-20], text("x.go", "failed to update tasks", 'error="').encode()):
        check_linear(PluginDaemon(), begin, noise, b"")
