"""Sends nodes as Dify's provider "otel" does, between spans of SQL statements, with the real OpenTelemetry client.

    python otel.py URL BATCHES NODES NOISE [TOKEN]

A batch that the client abandons is sent again, as a persistent queue would. Prints {"nodes": {key: [input, output]},
"abandoned": number}.
"""

import json
import sys
import uuid

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

url, batches, nodes, noise = sys.argv[1], *map(int, sys.argv[2:5])
headers = {"authorization": f"Bearer {sys.argv[5]}"} if len(sys.argv) > 5 else {}

provider, made = TracerProvider(), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(made))
dify, sql = provider.get_tracer("dify"), provider.get_tracer("opentelemetry.instrumentation.sqlalchemy")
exporter = OTLPSpanExporter(endpoint=url, headers=headers)

books, abandoned = {}, 0
for batch in range(batches):
    made.clear()
    for number in range(nodes):
        node, tokens = str(uuid.uuid4()), [batch + 1, number + 1]
        books[f"node:{node}"] = tokens
        metadata = {
            "node_execution_id": node,
            "node_type": "llm",
            "status": "succeeded",
            "total_tokens": sum(tokens),
            "total_price": "0.001",
            "currency": "USD",
            "query": "CANARY",
        }
        attributes = {
            "openinference.span.kind": "LLM",
            "gen_ai.operation.name": "chat",
            "dify.span.id": node,
            "gen_ai.request.model": "gpt-4.1",
            "gen_ai.provider.name": "langgenius/openai/openai",
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
            "metadata": json.dumps(metadata),
            "input.value": "CANARY " * 100,
            "session.id": "CANARY",
        }
        dify.start_span("llm_CANARY", attributes=attributes).end()
    for number in range(noise):
        sql.start_span("SELECT dify", attributes={"db.statement": "SELECT CANARY", "number": number}).end()
    for _ in range(20):
        if exporter.export(made.get_finished_spans()) is SpanExportResult.SUCCESS:
            break
        abandoned += 1
    else:
        sys.exit("a batch was never acknowledged")
print(json.dumps({"nodes": books, "abandoned": abandoned}))
