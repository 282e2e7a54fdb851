"""Generates the logs for the benchmarks. They are never committed; equal sizes give equal lines.

Almost half of the requests have a new id in their path, as those of Dify's console have, so a cache of paths would not
help. A few lines in ten thousand come from a scanner. The lines have the format of the real programs
(docs/other-logs.md).
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import structs

from parsers.dify.proxy import SERVICE, ProxyAttributes, ProxyHeartbeat, ProxyLine, UsageEntry, encode
from parsers.tracing.calls import ModelCall
from parsers.tracing.facts import Node, Origin, Outcome, message_fact, node_fact, workflow_fact

_SEED = 20261124

#: Weight, method, path with `#` for a new id, status codes.
_REQUESTS = (
    (14, "POST", "/v1/chat-messages", (200, 200, 200, 200, 400, 504)),
    (8, "GET", "/v1/parameters", (200,)),
    (6, "GET", "/v1/conversations?user=someone&limit=20", (200, 401)),
    (4, "POST", "/v1/workflows/run", (200, 200, 400)),
    (4, "POST", "/v1/files/upload", (201, 413)),
    (4, "GET", "/console/api/workspaces/current", (200,)),
    (3, "GET", "/console/api/apps?page=1&limit=30", (200,)),
    (3, "GET", "/_next/static/chunks/main-app.js", (200, 304)),
    (2, "GET", "/", (200, 307)),
    (1, "GET", "/wp-login.php", (404,)),
    (1, "GET", "/api/passport", (200, 401)),
    (10, "GET", "/console/api/apps/#", (200, 404)),
    (8, "GET", "/console/api/apps/#/workflows/draft", (200,)),
    (6, "POST", "/console/api/apps/#/workflows/draft", (200, 409)),
    (6, "GET", "/v1/messages?conversation_id=#&limit=20", (200,)),
    (6, "POST", "/v1/messages/#/feedbacks", (200, 404)),
    (6, "GET", "/v1/workflows/run/#", (200, 404)),
    (4, "GET", "/files/#/file-preview?sign=x", (200, 403)),
    (4, "GET", "/console/api/apps/#/chat-messages?limit=10", (200,)),
)
_AGENTS = (
    "python-requests/2.32.3",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "node",
    "curl/8.5.0",
)
_OPERATIONS = ("llm/invoke",) * 6 + ("text_embedding/invoke", "rerank/invoke", "llm/num_tokens", "tool/invoke")
_MODELS = (
    ("langgenius/openai/openai", "gpt-4.1"),
    ("langgenius/openai/openai", "gpt-4.1-mini"),
    ("langgenius/anthropic/anthropic", "claude-sonnet-4"),
    ("langgenius/tongyi/tongyi", "qwen-max"),
)


def nginx(timed: bool) -> Callable[[random.Random], Iterator[str]]:
    """Lines of nginx in the format that Dify ships; with `timed`, in the format of deploy/nginx."""

    def lines(chance: random.Random) -> Iterator[str]:
        for second in _seconds(chance, 40):
            clock = _clock(second)
            method, target, status = _request(chance)
            agent, client = chance.choice(_AGENTS), f"172.18.{chance.randrange(256)}.{chance.randrange(256)}"
            line = (
                f'{client} - - [24/Nov/2026:{clock} +0000] "{method} {target} HTTP/1.1" {status} '
                f'{chance.randrange(50_000)} "-" "{agent}" "-"'
            )
            if timed:
                first, whole = sorted((_time(chance), _time(chance)))
                up = "-" if status == 307 else f"{first:.3f}"
                line += f' rt={whole:.3f} uct="0.000" uht="{up}" urt="{whole:.3f}" us="{status}"'
            yield line

    return lines


def dify_access(chance: random.Random) -> Iterator[str]:
    """Access lines of Dify's api (api/extensions/ext_request_logging.py), in its text format."""
    for second in _seconds(chance, 40):
        method, target, status = _request(chance)
        path, clock = target.partition("?")[0], _clock(second)
        yield (
            f"2026-11-23 {clock}.{chance.randrange(1000):03} INFO [Dummy-{chance.randrange(9000)}] "
            f"[ext_request_logging.py:73] {chance.getrandbits(128):032x} - "
            f"{method} {path} {status} {round(_time(chance) * 1000, 3)} "
        )


def dify_json(chance: random.Random) -> Iterator[str]:
    """Access lines of Dify's api with LOG_OUTPUT_FORMAT=json."""
    for line in dify_access(chance):
        head, _, message = line.partition(" - ")
        trace = head.rpartition(" ")[2]
        yield (
            f'{{"ts":"{line[:10]}T{line[11:23]}Z","severity":"INFO","service":"langgenius/dify",'
            f'"caller":"ext_request_logging.py:73","message":"{message}","trace_id":"{trace}",'
            f'"identity":{{"tenant_id":"{_uuid(chance)}","user_id":"{_uuid(chance)}","user_type":"end_user"}}}}'
        )


def plugin_daemon(chance: random.Random) -> Iterator[str]:
    """Access lines of the plugin daemon up to version 0.5.2 (gin)."""
    tenants = [_uuid(chance) for _ in range(20)]
    for second in _seconds(chance, 40):
        clock = _clock(second)
        path = f"/plugin/{chance.choice(tenants)}/dispatch/{chance.choice(_OPERATIONS)}"
        if chance.random() < 0.1:
            path = "/health/check"
        took = _time(chance)
        text = f"{took:.9f}".rstrip("0") + "s" if took >= 1 else f"{took * 1000:.6f}".rstrip("0") + "ms"
        yield (
            f"[GIN] 2026/11/23 - {clock} | {chance.choice((200, 200, 200, 500))} |{text:>13} |"
            f'     192.168.0.9 | POST     "{path}"'
        )


def telemetry(chance: random.Random) -> Iterator[str]:
    """Enterprise telemetry of finished nodes (api/enterprise/telemetry), in its newer format."""
    apps, tenant = [_uuid(chance) for _ in range(30)], _uuid(chance)
    for second in _seconds(chance, 40):
        yield _event(second, chance, "span_detail", tenant, chance.choice(apps), _node(chance))


def telemetry_mixed(chance: random.Random) -> Iterator[str]:
    """Telemetry as a worker writes it: four of ten nodes call a model, and there are runs and messages between them."""
    apps, tenant = [_uuid(chance) for _ in range(30)], _uuid(chance)
    run = '"dify.event.name":"dify.workflow.run","dify.workflow.status":"succeeded","dify.workflow.elapsed_time":'
    start = '"dify.event.name":"dify.node.execution","dify.node.status":"succeeded","gen_ai.usage.total_tokens":null,'
    for second in _seconds(chance, 40):
        app, kind = chance.choice(apps), chance.randrange(16)
        if kind < 4:
            body, signal = _node(chance), "span_detail"
        elif kind < 10:
            node_type = chance.choice(("start", "end", "if-else", "code", "knowledge-retrieval", "http-request"))
            body = f'{start}"dify.node.type":"{node_type}","dify.node.elapsed_time":{_time(chance):.3f}'
            signal = "span_detail"
        elif kind < 13:
            body, signal = (
                f'{run}{_time(chance):.3f},"gen_ai.usage.total_tokens":{chance.randrange(9000)}',
                "span_detail",
            )
        elif kind < 15:
            body, signal = _message(chance), "metric_only"
        else:
            body, signal = '"dify.event.name":"dify.tool.execution","dify.tool.duration":0.25', "metric_only"
        yield _event(second, chance, signal, tenant, app, body)


def receiver(chance: random.Random) -> Iterator[str]:
    """The receiver's lines: four of ten nodes call a model, and there are runs and messages between them."""
    apps = [_uuid(chance) for _ in range(30)]
    for second in _seconds(chance, 40):
        at = (1_795_417_200 + second) * 10**9 + chance.randrange(1000) * 10**6
        origin = Origin(
            "phoenix", at, chance.choice(apps), f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(64):016x}"
        )
        provider, model = chance.choice(_MODELS)
        given, produced = chance.randrange(20, 4000), chance.randrange(1, 900)
        price, seconds = f"{chance.randrange(1, 200_000) / 10**7:.7f}", round(_time(chance), 6)
        call = ModelCall(provider, model, (given, produced, given + produced), price, "USD", seconds)
        kind = chance.randrange(16)
        if kind < 4:
            fact = node_fact(Node(_uuid(chance), "llm", "succeeded", seconds, call), origin)
        elif kind < 10:
            node_type = chance.choice(("start", "end", "if-else", "code", "knowledge-retrieval", "http-request"))
            fact = node_fact(Node(_uuid(chance), node_type, "succeeded", seconds), origin)
        elif kind < 13:
            fact = workflow_fact(f"run:{_uuid(chance)}", "workflow", Outcome("succeeded", seconds), origin)
        else:
            fact = message_fact(_uuid(chance), "chat", Outcome("normal", seconds), origin, call)
        yield fact.line.decode().rstrip("\n")


def proxy(chance: random.Random) -> Iterator[str]:
    """The proxy's lines: three of four requests call a model, and one line of ten is a heartbeat."""
    apps, workers = [_uuid(chance) for _ in range(30)], [f"7c1f-{number}" for number in range(4)]
    for second in _seconds(chance, 40):
        state = {"worker": chance.choice(workers), "active_requests": chance.randrange(40), "dropped_lines": 0}
        ts = f"2026-11-23T{_clock(second)}.{chance.randrange(1000):03}Z"
        line = ProxyLine(
            ts=ts,
            severity="INFO",
            service=SERVICE,
            caller="proxy",
            message="heartbeat",
            attributes=ProxyHeartbeat(**state),
        )
        if chance.random() > 0.1:
            line = structs.replace(line, trace_id=f"{chance.getrandbits(128):032x}", **_proxied(chance, apps, state))
        yield encode(line).decode().rstrip("\n")


def _proxied(chance: random.Random, apps: list[str], state: dict[str, Any]) -> dict[str, Any]:
    route, is_call, status = chance.choice("/v1/chat-messages /v1/workflows/run".split()), chance.random() < 0.75, 200
    if not is_call:
        route, status = chance.choice((("/v1/parameters", 200), ("/v1/messages", 200), ("/v1/conversations", 401)))
    first, token, whole = sorted(round(_time(chance), 6) for _ in range(3))
    provider, model = chance.choice(_MODELS)
    price = f"{chance.randrange(1, 200_000) / 10**7:.7f}"
    entry = UsageEntry(provider, model, chance.randrange(20, 4000), chance.randrange(1, 900), None, price, "USD")
    attributes = ProxyAttributes(
        method="POST" if is_call else "GET",
        route=route,
        status_code=status,
        duration=whole,
        time_to_first_byte=first,
        time_to_first_token=token if is_call else None,
        request_size=chance.randrange(2000),
        response_size=chance.randrange(50_000),
        outcome="ok",
        streaming=is_call,
        app_id=chance.choice(apps),
        usage=(entry,) if is_call else (),
        **state,
    )
    return {"message": f"{attributes.method} {route} {status} {whole * 1000:.3f}", "attributes": attributes}


def worker(chance: random.Random) -> Iterator[str]:
    """A worker's text lines: Celery tasks, half of which are runs of workflows, and calls to the plugin daemon."""
    for caller, trace, message, second in _worker_records(chance):
        time = f"2026-11-23 {_clock(second)}.{chance.randrange(1000):03}"
        yield f"{time} INFO [Dummy-{chance.randrange(9000)}] [{caller}] {trace} - {message}"


def worker_json(chance: random.Random) -> Iterator[str]:
    """The same lines with LOG_OUTPUT_FORMAT=json."""
    for caller, trace, message, second in _worker_records(chance):
        line = {
            "ts": f"2026-11-23T{_clock(second)}.{chance.randrange(1000):03}Z",
            "severity": "INFO",
            "service": "langgenius/dify",
            "caller": caller,
            "message": message,
        }
        yield json.dumps(line | {"trace_id": trace} if trace else line, separators=(",", ":"))


def celery(chance: random.Random) -> Iterator[str]:
    """Only the lines of Celery tasks that execute no runs, in the text format."""
    for second in _seconds(chance, 40):
        task = f"Task {chance.choice(_TASKS)}[{_uuid(chance)}]"
        time = f"2026-11-23 {_clock(second)}.{chance.randrange(1000):03}"
        if chance.random() < 0.5:
            yield f"{time} INFO [MainThread] [strategy.py:161]  - {task} received"
        else:
            trace = f"{chance.getrandbits(128):032x}"
            head = f"{time} INFO [Dummy-{chance.randrange(9000)}] [trace.py:128] {trace}"
            yield f"{head} - {task} succeeded in {_time(chance)}s: None"


_TASKS = (
    "tasks.document_indexing_task.document_indexing_task",
    "tasks.ops_trace_task.process_trace_tasks",
    "tasks.mail_invite_member_task.send_invite_member_mail_task",
    "schedule.clean_embedding_cache_task.clean_embedding_cache_task",
)
_RUN_TASK = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task"


def _worker_records(chance: random.Random) -> Iterator[tuple[str, str, str, int]]:
    """The caller, the trace id, the message and the second of each record."""
    apps, tenant = [_uuid(chance) for _ in range(30)], _uuid(chance)
    seconds = _seconds(chance, 40)
    while True:
        task, trace = f"Task {chance.choice((_RUN_TASK, chance.choice(_TASKS)))}[{_uuid(chance)}]", ""
        yield "strategy.py:161", "", f"{task} received", next(seconds)
        trace = f"{chance.getrandbits(128):032x}"
        if _RUN_TASK in task:
            yield (
                "workflow_execute_task.py:283",
                trace,
                f"workflow_based_app_execution_task run with params: app_id='{chance.choice(apps)}' "
                f"workflow_id='{_uuid(chance)}' tenant_id='{tenant}' app_mode=<AppMode.WORKFLOW: 'workflow'> "
                f"user=_Account(user_id='{_uuid(chance)}') args={{'inputs': {{}}}} streaming=True call_depth=0",
                next(seconds),
            )
        for _ in range(chance.randrange(4)):
            url = f"http://plugin_daemon:5002/plugin/{tenant}/dispatch/{chance.choice(_OPERATIONS)}"
            yield "_client.py:1038", trace, f'HTTP Request: POST {url} "HTTP/1.1 200 OK"', next(seconds)
        yield "trace.py:128", trace, f"{task} succeeded in {_time(chance)}s: None", next(seconds)


def plugin_daemon_text(chance: random.Random) -> Iterator[str]:
    """Access lines of the plugin daemon from version 0.5.3 on. Go writes the attributes in any order."""
    for time, trace, tenant, attributes in _plugin_daemon_records(chance):
        pairs = " ".join(f"{name}={value}" for name, value in chance.sample([*attributes.items()], len(attributes)))
        identity = f"trace_id={trace} tenant_id={tenant}"
        yield f"{time} INFO dify-plugin-daemon middleware.go:83 {identity} HTTP request {pairs}"


def plugin_daemon_json(chance: random.Random) -> Iterator[str]:
    """The same lines with LOG_OUTPUT_FORMAT=json."""
    for time, trace, tenant, attributes in _plugin_daemon_records(chance):
        line = {
            "attributes": dict(sorted(attributes.items())),
            "caller": "middleware.go:83",
            "identity": {"tenant_id": tenant},
            "message": "HTTP request",
            "service": "dify-plugin-daemon",
            "severity": "INFO",
            "span_id": f"{chance.getrandbits(64):016x}",
            "trace_id": trace,
            "ts": time,
        }
        yield json.dumps(line, separators=(",", ":"))


def _plugin_daemon_records(chance: random.Random) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """The time, the trace id, the tenant and the attributes of each record."""
    tenants = [_uuid(chance) for _ in range(20)]
    for second in _seconds(chance, 40):
        tenant = chance.choice(tenants)
        path = f"/plugin/{tenant}/dispatch/{chance.choice(_OPERATIONS)}"
        attributes = {
            "client_ip": "172.18.0.7",
            "latency_ms": round(_time(chance) * 1000),
            "method": "POST",
            "path": "/health/check" if chance.random() < 0.1 else path,
            "status": chance.choice((200, 200, 200, 500)),
        }
        time = f"2026-11-23T{_clock(second)}.{chance.randrange(10**9):09}Z"
        yield time, f"{chance.getrandbits(128):032x}", tenant, attributes


def gunicorn(chance: random.Random) -> Iterator[str]:
    """Lines of gunicorn in the format that our documentation recommends."""
    for second in _seconds(chance, 40):
        method, target, status = _request(chance)
        yield (
            f'172.18.0.{chance.randrange(256)} - - [24/Nov/2026:{_clock(second)} +0000] "{method} {target} HTTP/1.1" '
            f'{status} {chance.randrange(50_000)} "-" "{chance.choice(_AGENTS)}" {_time(chance):.6f}'
        )


def _event(second: int, chance: random.Random, signal: str, tenant: str, app: str, body: str) -> str:
    name, _, rest = body.partition(",")
    clock = f"{_clock(second)}.{chance.randrange(1000):03}"
    return (
        f'{{"ts":"2026-11-23T{clock}Z","severity":"INFO","service":"langgenius/dify",'
        f'"caller":"telemetry_log.py:71","message":"telemetry.{signal}","trace_id":"{chance.getrandbits(128):032x}",'
        f'"attributes":{{{name},"dify.event.signal":"{signal}","dify.tenant_id":"{tenant}","dify.app_id":"{app}",'
        f'"dify.workflow.id":"{_uuid(chance)}","dify.app.name":"Support","gen_ai.user.id":"{_uuid(chance)}",{rest}}}}}'
    )


def _node(chance: random.Random) -> str:
    return (
        f'"dify.event.name":"dify.node.execution","dify.node.type":"llm","dify.node.status":"succeeded",'
        f'"dify.node.elapsed_time":{_time(chance):.3f},{_model_call(chance)},'
        f'"dify.node.inputs":"ref:node/{_uuid(chance)}","dify.node.error":null,'
        f'"dify.node.total_price":"{chance.randrange(1, 200_000) / 10**7:.7f}","dify.node.currency":"USD"'
    )


def _message(chance: random.Random) -> str:
    return (
        f'"dify.event.name":"dify.message.run","dify.message.status":"normal","dify.conversation.mode":"chat",'
        f'{_model_call(chance)},"dify.message.duration":{_time(chance):.3f},'
        f'"dify.message.time_to_first_token":{_time(chance):.3f},"dify.streaming":true'
    )


def _model_call(chance: random.Random) -> str:
    provider, model = chance.choice(_MODELS)
    given, produced = chance.randrange(20, 4000), chance.randrange(1, 900)
    return (
        f'"gen_ai.usage.input_tokens":{given},"gen_ai.usage.output_tokens":{produced},'
        f'"gen_ai.usage.total_tokens":{given + produced},"gen_ai.provider.name":"{provider}",'
        f'"gen_ai.request.model":"{model}"'
    )


CORPORA: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "nginx-timed": nginx(timed=True),
    "nginx": nginx(timed=False),
    "dify-access": dify_access,
    "plugin-daemon": plugin_daemon,
    "dify-json": dify_json,
    "telemetry": telemetry,
    "telemetry-mixed": telemetry_mixed,
    "receiver": receiver,
    "proxy": proxy,
    "celery": celery,
    "worker": worker,
    "worker-json": worker_json,
    "plugin-daemon-text": plugin_daemon_text,
    "plugin-daemon-json": plugin_daemon_json,
    "gunicorn": gunicorn,
}


def corpus(folder: Path, name: str, lines: int) -> Path:
    """The file of a corpus, which the first call generates. A large one repeats its first million lines."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{lines}.log"
    if not path.exists():
        base = min(lines, 1_000_000)
        made = CORPORA[name](random.Random(_SEED))
        temporary = path.with_suffix(".tmp")
        with temporary.open("w") as file:
            for _ in range(base):
                file.write(next(made) + "\n")
        block = temporary.read_bytes() if lines > base else b""
        with temporary.open("ab") as file:
            for _ in range(lines // base - 1):
                file.write(block)
        temporary.replace(path)
    return path


def _seconds(chance: random.Random, rate: int) -> Iterator[int]:
    """The second of the day of each line, at `rate` lines per second on average."""
    second = 0
    while True:
        for _ in range(chance.randrange(rate * 2)):
            yield second
        second += 1


def _clock(second: int) -> str:
    return f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"


def _request(chance: random.Random) -> tuple[str, str, int]:
    _, method, target, statuses = chance.choices(_REQUESTS, _WEIGHTS)[0]
    return method, target.replace("#", _uuid(chance)) if "#" in target else target, chance.choice(statuses)


_WEIGHTS = tuple(weight for weight, *_ in _REQUESTS)


def _uuid(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _time(chance: random.Random) -> float:
    """A duration in seconds: usually below one, rarely a minute."""
    return float(min(chance.lognormvariate(-1.2, 1.4), 120.0))
