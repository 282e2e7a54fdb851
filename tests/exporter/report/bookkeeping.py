"""Made-up logs of several weeks, and an independent bookkeeping of what is in them.

The events are invented first. The log lines and the expected rows of a report are both made from them; the rows without
any code of the exporter.
"""

import gzip
import json
import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

FIRST = datetime(2026, 10, 5, tzinfo=UTC)
WEEKS = 6
APPS = [f"0f0e0000-0000-4000-8000-00000000000{n}" for n in range(4)]
MODELS = [("langgenius/openai/openai", "gpt-4.1"), ("langgenius/tongyi/tongyi", "qwen-max")]
ROUTES = ["/v1/chat-messages", "/v1/workflows/run", "/v1/info", "/console/api/apps"]
FAILURES = {500: "server_error", 504: "timeout", 429: "rate_limited", 499: "client_closed"}


class Event(dict[str, Any]):
    """What happened: `at`, `source`, and the figures that it moves."""


def events(seed: int = 7, per_day: int = 12) -> list[Event]:
    """Requests, model calls and runs, in the order of time. Nights are quiet, so that hours without lines exist."""
    chance, found = random.Random(seed), []
    for _ in range(per_day * 7 * WEEKS):
        day = FIRST + timedelta(days=chance.randrange(7 * WEEKS))
        at = day + timedelta(milliseconds=int(chance.triangular(0, 86_400_000, 43_200_000)))
        kind = chance.choice(["nginx", "nginx", "proxy", "message", "node", "worker"])
        event = Event(at=at, kind=kind, source="nginx" if kind == "nginx" else "dify", app_id=chance.choice(APPS))
        event["duration"] = round(chance.lognormvariate(0, 1.5), 3)
        event["route"] = chance.choice(ROUTES)
        event["status"] = chance.choice([200] * 12 + list(FAILURES))
        event["provider"], event["model"] = chance.choice(MODELS)
        event["tokens"] = chance.randrange(1, 5000), chance.randrange(1, 900)
        event["cost"] = Decimal(chance.randrange(1, 10**6)) / 10**7 if chance.random() < 0.8 else None
        event["currency"] = "USD" if event["model"].startswith("gpt") else "RMB"
        event["run_status"] = chance.choice(["succeeded", "succeeded", "failed"])
        event["number"] = chance.randrange(10**12)
        if kind == "nginx":
            event["at"] = at.replace(microsecond=0)
        found.append(event)
    return sorted(found, key=lambda event: event["at"])


def write(folder: Path, found: list[Event]) -> list[str]:
    """Write the logs: nginx in three files, one of them packed; the proxy; telemetry; a worker's text log."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    third = FIRST + timedelta(weeks=WEEKS) / 3
    for event in found:
        name = {"nginx": "access.log", "proxy": "proxy.log", "worker": "worker.log"}.get(event["kind"], "telemetry.log")
        if name == "access.log":
            name += ".2" if event["at"] < third else ".1" if event["at"] < third + (third - FIRST) else ""
        lines[name] += LINES[event["kind"]](event)
    files = []
    for name, text in lines.items():
        data = "".join(line + "\n" for line in text).encode()
        path = folder / name
        if name == "access.log.2":
            path, data = folder / "access.log.2.gz", gzip.compress(data)
        path.write_bytes(data)
        files.append(str(path))
    return sorted(files)


def _nginx(event: Event) -> list[str]:
    moment = event["at"].astimezone(ZoneInfo("Asia/Shanghai"))
    return [
        f'10.0.0.1 - - [{moment:%d/%b/%Y:%H:%M:%S %z}] "POST {event["route"]} HTTP/1.1" {event["status"]} 47 "-" "c" "-" '
        f'rt={event["duration"]:.3f} uct="0.001" uht="0.002" urt="0.102" us="200"'
    ]


def _json(event: Event, attributes: dict[str, Any], caller: str = "telemetry_log.py:71") -> list[str]:
    ts = event["at"].strftime("%Y-%m-%dT%H:%M:%S.") + f"{event['at'].microsecond // 1000:03}Z"
    line = {
        "ts": ts, "severity": "INFO", "service": "langgenius/dify", "caller": caller,
        "message": "m" if caller == "proxy" else "telemetry.span_detail",
        "trace_id": f"{event['number']:032x}", "attributes": attributes,
    }  # fmt: skip
    return [json.dumps(line)]


def _price(event: Event, prefix: str = "dify.node.") -> dict[str, Any]:
    return (
        {}
        if event["cost"] is None
        else {f"{prefix}total_price": f"{event['cost']:f}", f"{prefix}currency": event["currency"]}
    )


def _usage(event: Event) -> dict[str, Any]:
    given, produced = event["tokens"]
    return {
        "gen_ai.provider.name": event["provider"], "gen_ai.request.model": event["model"],
        "gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": produced,
    }  # fmt: skip


def _proxy(event: Event) -> list[str]:
    status = event["status"]
    attributes = {
        "dify.event.name": "dify.proxy.request", "http.request.method": "POST", "http.route": event["route"],
        "http.response.status_code": status, "http.server.request.duration": event["duration"],
        "gen_ai.server.time_to_first_token": event["duration"] / 2, "dify.proxy.outcome": "ok", "dify.streaming": True,
        "dify.app_id": event["app_id"], "dify.proxy.usage": [_usage(event) | _price(event, "dify.")],
    }  # fmt: skip
    if status == 499:
        attributes["dify.proxy.outcome"] = "client_closed"
    return _json(event, attributes, "proxy")


def _message(event: Event) -> list[str]:
    status = "normal" if event["run_status"] == "succeeded" else "error"
    attributes = {
        "dify.event.name": "dify.message.run", "dify.app_id": event["app_id"], "dify.message.status": status,
        "dify.message.time_to_first_token": event["duration"], "dify.conversation.mode": "chat",
    }  # fmt: skip
    return _json(event, attributes | _usage(event))


def _node(event: Event) -> list[str]:
    attributes = {
        "dify.event.name": "dify.node.execution", "dify.app_id": event["app_id"], "dify.node.type": "llm",
        "dify.node.status": "succeeded", "dify.node.elapsed_time": event["duration"],
    }  # fmt: skip
    return _json(event, attributes | _usage(event) | _price(event))


def _worker(event: Event) -> list[str]:
    """A run that begins and ends at once, so that the lines stay in order."""
    ts = event["at"].strftime("%Y-%m-%d %H:%M:%S.") + f"{event['at'].microsecond // 1000:03}"
    trace, task = (
        f"{event['number']:032x}",
        "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task",
    )
    end = "succeeded in 1.5s: None" if event["run_status"] == "succeeded" else "raised unexpected: ValueError('x')"
    level = "INFO" if event["run_status"] == "succeeded" else "ERROR"
    return [
        f"{ts} INFO [Dummy-1] [workflow_execute_task.py:283] {trace} - workflow_based_app_execution_task run with params: "
        f"app_id='{event['app_id']}' workflow_id='w' tenant_id='t' app_mode=<AppMode.WORKFLOW: 'workflow'> user=x",
        f"{ts} {level} [Dummy-1] [trace.py:128] {trace} - Task {task}[996f75fd-84ce-4a65-a176-9219573c1936] {end}",
    ]


LINES = {"nginx": _nginx, "proxy": _proxy, "message": _message, "node": _node, "worker": _worker}


def bucket(at: datetime, by: str, timezone: str) -> str:
    local = at.astimezone(ZoneInfo(timezone))
    if by == "hour":
        return local.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes")
    return {"month": f"{local:%Y-%m}", "day": f"{local:%Y-%m-%d}", "week": f"{local:%G-W%V}", "total": ""}[by]


def by_source(found: list[Event], by: str, timezone: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows by source: the counts, and the durations of requests."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for event in found:
        row = rows.setdefault(
            (bucket(event["at"], by, timezone), event["source"]),
            dict.fromkeys(("requests", "failed_requests", "server_errors", "runs", "failed_runs", "errors"), 0)
            | dict.fromkeys(("input_tokens", "output_tokens"), 0)
            | {"durations": []},
        )
        if event["kind"] in ("nginx", "proxy"):
            row["requests"] += 1
            row["failed_requests"] += event["status"] in FAILURES
            row["server_errors"] += event["status"] >= 500
            row["durations"].append(event["duration"])
        if event["kind"] in ("message", "worker"):
            row["runs"] += 1
            row["failed_runs"] += event["run_status"] == "failed"
            row["errors"] += event["run_status"] == "failed" and event["kind"] == "worker"
        if event["kind"] in ("proxy", "message", "node"):
            row["input_tokens"] += event["tokens"][0]
            row["output_tokens"] += event["tokens"][1]
    return rows


def by_model(found: list[Event], by: str, timezone: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows by app and model: tokens, costs, and times to the first token."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for event in found:
        if event["kind"] not in ("proxy", "message", "node"):
            continue
        row = rows.setdefault(
            (bucket(event["at"], by, timezone), event["app_id"], event["model"]),
            {"input_tokens": 0, "output_tokens": 0, "unpriced_tokens": 0, "cost": {}, "first_tokens": []},
        )
        row["input_tokens"] += event["tokens"][0]
        row["output_tokens"] += event["tokens"][1]
        if event["cost"] is not None and event["kind"] != "message":
            row["cost"][event["currency"]] = row["cost"].get(event["currency"], Decimal(0)) + event["cost"]
        else:
            row["unpriced_tokens"] += sum(event["tokens"])
        if event["kind"] != "node":
            row["first_tokens"].append(event["duration"] / (2 if event["kind"] == "proxy" else 1))
    return rows


def near(found: dict[str, float] | None, values: list[float]) -> bool:
    """Whether quantiles are within 5 % of the exact ones."""
    if not values:
        return found is None
    ordered = sorted(values)
    exact = {f"p{q}": ordered[max(1, math.ceil(q / 100 * len(ordered))) - 1] for q in (50, 95, 99)}
    return found is not None and all(abs(found[name] - exact[name]) <= 0.05 * exact[name] + 1e-6 for name in exact)
