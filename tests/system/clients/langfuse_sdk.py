"""Sends messages as Dify's provider "Langfuse" does, with the real Langfuse client.

    python langfuse_sdk.py URL EVENTS SECRET

An event whose request fails is sent again. Prints {"messages": {key: [input, output]}, "failed": number, "project": id}.
"""

import json
import sys
import uuid
from datetime import datetime, timezone

from langfuse.api.client import LangfuseAPI
from langfuse.api.ingestion import IngestionEvent_GenerationCreate

url, events, secret = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = LangfuseAPI(
    base_url=url,
    username="public",
    password=secret,
    x_langfuse_sdk_name="python",
    x_langfuse_sdk_version="4.2.0",
    x_langfuse_public_key="public",
)
project = client.projects.get().data[0].id

books, failed = {}, 0
for number in range(events):
    message, tokens = str(uuid.uuid4()), [number + 1, 7]
    books[f"message:{message}:llm"] = tokens
    now = datetime.now(timezone.utc)  # noqa: UP017 - runs under any Python
    event = IngestionEvent_GenerationCreate(
        id=str(uuid.uuid4()),
        timestamp=now.isoformat(),
        body={
            "traceId": message, "name": "llm", "startTime": now, "endTime": now, "model": "gpt-4.1",
            "input": "CANARY", "output": "CANARY", "level": "DEFAULT",
            "usage": {"input": tokens[0], "output": tokens[1], "total": sum(tokens), "unit": "TOKENS",
                      "totalCost": 0.00008},
            "metadata": {"app_id": "770e8400-0000-4000-8000-00000000000f", "message_id": message,
                         "ls_provider": "openai", "status": "normal", "user_id": "CANARY"},
        },
    )  # fmt: skip
    for _ in range(20):
        try:
            answer = client.ingestion.batch(batch=[event])
        except Exception:
            failed += 1
            continue
        assert [each.id for each in answer.successes] == [event.id]
        assert answer.errors == []
        break
    else:
        sys.exit("an event was never acknowledged")
print(json.dumps({"messages": books, "failed": failed, "project": project}))
