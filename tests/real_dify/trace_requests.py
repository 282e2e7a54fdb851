"""The tracing requests that a real Dify sent, by channel (see README.md), and the books of what each channel shows."""

import base64
import gzip
import json
from functools import cache
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from parsers.tracing import Reading, read_langfuse, read_otlp
from tests.real_dify.forms import HERE

CHANNELS = ("phoenix", "langfuse", "native", "both")
BOOKS: dict[str, Any] = json.loads((HERE / "traces" / "expected.json").read_text())["channels"]


class TraceRequest(NamedTuple):
    """`t` is the time of the request in seconds."""

    t: float
    path: str
    body: bytes

    def read(self) -> Reading:
        if self.path.endswith("/ingestion"):
            return read_langfuse(self.body)
        return read_otlp(self.body, is_json=False, native=True)


@cache
def requests(channel: str) -> tuple[TraceRequest, ...]:
    lines = gzip.decompress((HERE / "traces" / f"{channel}.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(TraceRequest(row["t"], row["path"], base64.b64decode(row["body"])) for row in rows)


def in_pieces(request: TraceRequest) -> list[TraceRequest]:
    """The same items, each in a request of its own."""
    if request.path.endswith("/ingestion"):
        events = json.loads(request.body)["batch"]
        return [request._replace(body=json.dumps({"batch": [event]}).encode()) for event in events]
    found = []
    for resource_spans in ExportTraceServiceRequest.FromString(request.body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                piece = ExportTraceServiceRequest()
                outer = piece.resource_spans.add(resource=resource_spans.resource)
                outer.scope_spans.add(scope=scope_spans.scope, spans=[span])
                found.append(request._replace(body=piece.SerializeToString()))
    return found
