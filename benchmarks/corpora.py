"""Generates the logs for the benchmarks. They are never committed; equal sizes give equal lines.

Almost half of the requests have a new id in their path, as those of Dify's console have, so a cache of paths would not
help. A few lines in ten thousand come from a scanner. The lines have the format of the real programs
(docs/other-logs.md).
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from parsers.tracing.facts import ModelCall, Node, Origin, Outcome, message_fact, node_fact, workflow_fact

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
            clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
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
        path, clock = target.partition("?")[0], f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
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
        clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
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


def _event(second: int, chance: random.Random, signal: str, tenant: str, app: str, body: str) -> str:
    name, _, rest = body.partition(",")
    clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}.{chance.randrange(1000):03}"
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
