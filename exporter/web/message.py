"""A request and its answer, between the connection that reads them and the pages that give them."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Request(Struct, frozen=True):
    """`headers` by lower-case name, the first of each; `peer` is the client's address without its port."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    peer: str

    def header(self, name: str) -> str:
        return self.headers.get(name.encode(), b"").decode("latin-1")


class Answer(Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


def text(status: int, sentence: str, **headers: str) -> Answer:
    """One sentence; `retry_after` becomes `Retry-After`."""
    named: dict[str, Any] = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(status, sentence.encode() + b"\n", headers=named)
