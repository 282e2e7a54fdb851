"""The receiver without its server: its WSGI callable, and requests as gunicorn hands them over."""

import io
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

from exporter.config.wsgi import ReceiveConfig
from exporter.receive.app import App, OpenRequests
from exporter.receive.fact_log import FactLog
from exporter.wsgi.log_file import LogFile

JSON, PROTOBUF = "application/json", "application/x-protobuf"
NODE = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "spanId": "00f067aa0ba902b8",
    "name": "llm_CANARY",
    "startTimeUnixNano": "1790000000100000000",
    "endTimeUnixNano": "1790000002500000000",
    "attributes": [
        {"key": "openinference.span.kind", "value": {"stringValue": "LLM"}},
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "dify.span.id", "value": {"stringValue": "0b6f6a9e-0000-4000-8000-000000000001"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "34"}},
        {
            "key": "metadata",
            "value": {
                "stringValue": '{"node_type":"llm","status":"succeeded","total_tokens":46,'
                '"node_execution_id":"0b6f6a9e-0000-4000-8000-000000000001"}'
            },
        },
    ],
}
SPANS = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [NODE]}]}]}).encode()
GENERATION = {
    "id": "bb0e8400-0000-4000-8000-000000000010",
    "type": "generation-create",
    "timestamp": "2026-09-21T14:15:02.000Z",
    "body": {
        "id": "cc0e8400-0000-4000-8000-000000000011",
        "traceId": "aa0e8400-0000-4000-8000-00000000000e",
        "name": "llm",
        "startTime": "2026-09-21T14:15:00.000Z",
        "endTime": "2026-09-21T14:15:01.200Z",
        "model": "gpt-4.1",
        "input": "CANARY",
        "usage": {"input": 20, "output": 5, "total": 25, "unit": "TOKENS", "totalCost": 0.00008},
        "metadata": {
            "app_id": "770e8400-0000-4000-8000-00000000000f",
            "message_id": "aa0e8400-0000-4000-8000-00000000000e",
            "ls_provider": "openai",
            "status": "normal",
        },
    },
}


class Reply(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes
    closes: bool


class Receiver:
    """An App with its log. `post` and `ask` are requests of a client of their own."""

    def __init__(self, folder: Path, token: str = "", native: bool = False) -> None:
        self.path = folder / "receive.log"
        self.requests = OpenRequests()
        self.file = LogFile(str(self.path))
        self.facts = FactLog(self.file)
        self.token_file = folder / "token"
        if token:
            self.token_file.write_text(token)
        settings = ReceiveConfig(native=native, token_file=str(self.token_file) if token else "")
        self.app = App(settings, self.facts, self.requests)
        self.client, self.peer = socket.socketpair()

    def close(self) -> None:
        self.file.close()
        self.client.close()
        self.peer.close()

    def ask(self, method: str, path: str, **environ: Any) -> Reply:
        closed: list[bool] = []
        started: list[tuple[str, list[tuple[str, str]]]] = []
        pieces = self.app(
            {
                "REQUEST_METHOD": method,
                "RAW_URI": path,
                "gunicorn.socket": self.client,
                "dify_exporter.close": lambda: closed.append(True),
                **environ,
            },
            lambda status, fields: started.append((status, fields)),
        )
        ((status, fields),) = started
        assert not self.requests.greenlets
        return Reply(int(status[:3]), dict(fields), b"".join(pieces), bool(closed))

    def post(self, path: str, body: bytes, content_type: str = JSON, **environ: Any) -> Reply:
        return self.ask(
            "POST",
            path,
            **{
                "CONTENT_TYPE": content_type,
                "CONTENT_LENGTH": str(len(body)),
                "wsgi.input": io.BytesIO(body),
                **environ,
            },
        )

    def lines(self) -> list[dict[str, Any]]:
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def items(self) -> dict[tuple[str, str], int]:
        self.facts.write_heartbeat()
        return {(i["dialect"], i["outcome"]): i["count"] for i in self.lines()[-1]["attributes"]["dify.receiver.items"]}
