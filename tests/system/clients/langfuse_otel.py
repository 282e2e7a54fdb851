"""Sends spans with the real Langfuse client's own exporter: nodes as ENABLE_OTEL makes them, which the client exports too
where it shares the tracer provider (Dify 1.14.1), and observations of its own, which no Dify sends.

    python langfuse_otel.py URL NODES OBSERVATIONS SECRET

The same nodes also go to URL/v1/traces. Prints {"nodes": {key: [input, output]}}.
"""

import json
import sys
import uuid

from langfuse import Langfuse
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

url, nodes, observations, secret = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
provider = TracerProvider()
own = OTLPSpanExporter(endpoint=f"{url}/v1/traces", headers={"authorization": f"Bearer {secret}"})
provider.add_span_processor(BatchSpanProcessor(own))
client = Langfuse(public_key="public", secret_key=secret, host=url, tracer_provider=provider)
dify = provider.get_tracer("core.app.workflow.layers.observability")

books = {}
for number in range(nodes):
    node, tokens = str(uuid.uuid4()), [number + 1, 7]
    books[f"node:{node}"] = tokens
    attributes = {
        "node.id": "1",
        "node.execution_id": node,
        "node.type": "llm",
        "gen_ai.framework": "dify",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.provider.name": "langgenius/openai/openai",
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
        "gen_ai.prompt": "CANARY",
        "output.value": json.dumps({"text": "CANARY"}),
    }
    dify.start_span("CANARY", attributes=attributes).end()
for number in range(observations):
    usage = {"input": 1000 + number, "output": 5}
    client.start_observation(
        name="CANARY", as_type="generation", model="gpt-4.1", input="CANARY", output="CANARY", usage_details=usage,
        metadata={"app_id": "CANARY"},
    ).end()  # fmt: skip
client.flush()
provider.force_flush()
provider.shutdown()
print(json.dumps({"nodes": books}))
