"""Sends the trace of an answered chat to the receiver, as Dify's tracing provider Phoenix does after each run.

The spans come from the generator of the receiver's tests (`tests.parsers.tracing.spans`).
"""

import random
import time
import uuid
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from tests.drill.logs import Chat
from tests.parsers.tracing.spans import PHOENIX, SECOND, Node, ScopedSpan, Workflow, otel, requests_of

#: Dify drops a trace that it cannot send in this time.
_TIMEOUT_SECONDS = 10


def send(chat: Chat, address: str) -> None:
    """Post the trace to `address` (host and port). A trace that cannot be sent is lost, as in Dify."""
    connection = HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
    with suppress(OSError, HTTPException):
        for body in requests_of(_spans(chat), PHOENIX, size=512):
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
            connection.getresponse().read()
    connection.close()


def llm_node(chat: Chat) -> Node:
    """The node of the workflow that calls the model."""
    tokens = chat.input_tokens, chat.output_tokens
    return Node(_id(), "llm", tokens=tokens, price=chat.price, first_token_seconds=round(chat.seconds / 4, 3))


def _spans(chat: Chat) -> list[ScopedSpan]:
    nodes = Node(_id(), "start"), llm_node(chat), Node(_id(), "answer")
    run = Workflow(_id(), chat.app_id, nodes, conversation_id=_id(), seconds=chat.seconds)
    spans = otel([run], seed=random.getrandbits(64), is_phoenix=True)
    end = time.time_ns()
    for each in spans:
        each.span.start_time_unix_nano, each.span.end_time_unix_nano = end - round(chat.seconds * SECOND), end
    return spans


def _id() -> str:
    return str(uuid.uuid4())
