"""A chat, and the log lines that Dify's api, its worker and the plugin daemon write about it."""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct

PROVIDER, MODEL = "langgenius/openai/openai", "gpt-4.1"
ROUTE = "/v1/chat-messages"
TENANT = "b4a829a9-5249-4f51-a2c1-7b8ed411fa64"
TASK = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"

#: A budget in another time zone: never are both in the first hour of their day, in which nothing is projected.
BUDGET = """
[[budget]]
name = "daily in Tokyo"
window = "day"
timezone = "Asia/Tokyo"
unit = "USD"
limit = "500"
match = { source = "worker" }
"""

#: The sources of these logs and of those of proxy and receiver, beside nginx's and the telemetry's.
SOURCES = "".join(
    f'\n[[source]]\nname = "{name}"\npaths = ["{log}.log"]\nparser = "{parser}"\n'
    for name, log, parser in (
        ("api", "api", "dify"), ("tasks", "tasks", "dify"), ("plugin-daemon", "plugin-daemon", "plugin-daemon"),
        ("proxy", "proxy", "dify"), ("receiver", "receive", "dify"),
    )
)  # fmt: skip


class Chat(Struct, frozen=True):
    """A chat with an app of kind chatflow, which calls one model; `seconds` is its duration."""

    app_id: str
    input_tokens: int
    output_tokens: int
    seconds: float

    @property
    def price(self) -> str:
        return str(Decimal(2 * self.input_tokens + 8 * self.output_tokens) / 1_000_000)

    @property
    def node(self) -> dict[str, Any]:
        return {
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": MODEL,
            "gen_ai.usage.input_tokens": self.input_tokens,
            "gen_ai.usage.output_tokens": self.output_tokens,
            "dify.event.name": "dify.node.execution",
            "dify.app_id": self.app_id,
            "dify.node.type": "llm",
            "dify.node.status": "succeeded",
            "dify.node.elapsed_time": round(self.seconds, 3),
            "gen_ai.usage.total_tokens": self.input_tokens + self.output_tokens,
            "dify.node.total_price": self.price,
            "dify.node.currency": "USD",
        }


def write(chat: Chat) -> None:
    """Append to the logs in the working folder."""
    trace = uuid.uuid4().hex
    _append("worker.log", telemetry(chat, _now()))
    _access(trace, 200, chat.seconds)
    _task(chat.app_id, trace, "INFO", f"succeeded in {chat.seconds}s: None")
    _text(
        "plugin-daemon.log",
        f"INFO dify-plugin-daemon middleware.go:83 trace_id={trace} tenant_id={TENANT} HTTP request status=200 method=POST "
        f"client_ip=172.18.0.7 latency_ms={1000 * chat.seconds:.0f} path=/plugin/{TENANT}/dispatch/llm/invoke",
    )


def write_failed(app_id: str) -> None:
    """Write the lines of a chat that fails with status 500: only the api and the worker log it."""
    trace = uuid.uuid4().hex
    _text(
        "api.log", f"ERROR [Thread-12 (_generate_worker)] [app_generator.py:90] {trace} - Unknown Error when generating"
    )
    _access(trace, 500, 0.01)
    _task(app_id, trace, "ERROR", "raised unexpected: RuntimeError('overloaded')")


def _access(trace: str, status: int, seconds: float) -> None:
    _text(
        "api.log", f"INFO [Dummy-1] [ext_request_logging.py:73] {trace} - POST {ROUTE} {status} {1000 * seconds:.3f} "
    )


def _task(app_id: str, trace: str, level: str, end: str) -> None:
    task = f"Task {TASK}[{uuid.uuid4()}]"
    _text("tasks.log", f"INFO [MainThread] [strategy.py:161]  - {task} received")
    _text(
        "tasks.log",
        f"INFO [Dummy-2] [workflow_execute_task.py:283] {trace} - workflow_based_app_execution_task run with params: "
        f"app_id='{app_id}' workflow_id='{TENANT}' tenant_id='{TENANT}' "
        "app_mode=<AppMode.ADVANCED_CHAT: 'advanced-chat'> user=_Account(TYPE=<_UserType.ACCOUNT: 'account'>) args={} "
        "invoke_from=<InvokeFrom.SERVICE_API: 'service-api'> streaming=True call_depth=0 root_node_id=None workflow_run_id=None",
    )
    _text(
        "tasks.log",
        f"{level} [Dummy-2] [trace.py:128] {trace} - {task} {end}",
    )


def telemetry(chat: Chat, at: datetime) -> str:
    """The line of the enterprise telemetry."""
    line = {
        "ts": f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "severity": "INFO",
        "service": "langgenius/dify",
        "caller": "drill",
        "message": "telemetry.span_detail",
        "attributes": chat.node | {"dify.event.signal": "span_detail"},
    }
    return json.dumps(line, separators=(",", ":"))


def _text(name: str, rest: str) -> None:
    pattern = "%Y-%m-%dT%H:%M:%S.%fZ" if name.startswith("plugin") else "%Y-%m-%d %H:%M:%S.%f"
    time = _now().strftime(pattern)
    _append(name, f"{time if time.endswith('Z') else time[:-3]} {rest}")


def _append(name: str, line: str) -> None:
    with Path(name).open("a") as log:
        log.write(line + "\n")


def _now() -> datetime:
    return datetime.now(UTC)
