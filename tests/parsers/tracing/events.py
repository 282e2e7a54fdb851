"""Langfuse's ingestion events as Dify makes them, from the same stories as `tests.parsers.tracing.spans`."""

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from tests.parsers.tracing.spans import CANARY, ERROR, PROVIDER, Message, Node, Run, Workflow


def langfuse(runs: Sequence[Run]) -> list[bytes]:
    """The requests to Langfuse's ingestion, one event each."""
    chance, found = random.Random(5), list[bytes]()
    for run in runs:
        for kind, body in _events(run):
            event = {
                "id": str(uuid.UUID(int=chance.getrandbits(128))),
                "type": kind,
                "timestamp": "2026-09-21T14:15:02.000Z",
                "body": body,
            }
            found.append(json.dumps({"batch": [event], "metadata": {"sdk": CANARY}}).encode())
    return found


_TIMES = {"startTime": "2026-09-21T14:15:00.000Z", "endTime": "2026-09-21T14:15:01.200Z", "statusMessage": ""}


def _events(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    content = {"input": CANARY, "output": {"text": CANARY}, "userId": CANARY, "sessionId": CANARY}
    if isinstance(run, Message):
        metadata = {
            "app_id": run.app_id,
            "message_id": run.message_id,
            "ls_provider": PROVIDER,
            "status": "normal",
            "query": CANARY,
        }
        yield (
            "trace-create",
            {"id": run.message_id, "name": "message", "tags": ["message", run.mode], "metadata": metadata, **content},
        )
        usage = {
            "input": run.tokens[0],
            "output": run.tokens[1],
            "total": sum(run.tokens),
            "unit": "TOKENS",
            "totalCost": run.price,
        }
        yield "generation-create", {"id": None, "traceId": run.message_id, "name": "llm", "model": run.model, "usage": usage,
                                    "metadata": metadata, **content, **_TIMES}  # fmt: skip
        suggested = {"name": "suggested_question", "usage": usage | {"unit": "CHARACTERS"}, "metadata": metadata}
        yield "generation-create", {**suggested, **content, **_TIMES}
        return
    metadata = {"app_id": run.app_id, "workflow_run_id": run.run_id, "status": run.status, "elapsed_time": 3.1,
                "conversation_id": run.conversation_id, "total_tokens": 9, "user_id": CANARY}  # fmt: skip
    if run.conversation_id:
        yield (
            "trace-create",
            {"id": "m", "name": "message", "tags": ["message", "workflow"], "metadata": metadata, **content},
        )
        yield "span-create", {"id": run.run_id, "name": "workflow", "metadata": metadata, **content, **_TIMES}
    else:
        yield (
            "trace-create",
            {"id": run.run_id, "name": "workflow", "tags": ["workflow"], "metadata": metadata, **content},
        )
    yield from _node_events(run, run.nodes, content)


def _node_events(run: Workflow, nodes: Sequence[Node], content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for node in nodes:
        given, produced = node.tokens or (None, None)
        total = sum(node.tokens) if node.tokens else None
        metadata = {"app_id": run.app_id, "workflow_run_id": run.run_id, "node_execution_id": node.node_id, "node_name": CANARY,
                    "node_type": node.node_type, "status": node.status, "total_tokens": total,
                    "total_price": node.price if node.tokens else None, "currency": node.currency if node.tokens else None}  # fmt: skip
        body = {"id": node.node_id, "name": CANARY, "traceId": run.run_id, "metadata": metadata, **content, **_TIMES,
                "level": "DEFAULT" if node.status == "succeeded" else "ERROR", "statusMessage": ERROR}  # fmt: skip
        if node.nested is not None:
            metadata["tool_info"] = {"provider_type": "workflow", "provider_id": CANARY}
        if node.node_type in ("llm", "question-classifier", "parameter-extractor") and node.tokens:
            metadata |= {"model_provider": PROVIDER, "model_name": node.model}
            body |= {
                "model": node.model,
                "usage": {"input": given, "output": produced, "total": total, "unit": "TOKENS"},
            }
            yield "generation-create", body
        else:
            yield "span-create", body
        yield from _node_events(run, node.inside, content)
        if node.nested is not None:
            yield from _events(node.nested)
