"""The HTTP request and response that the connection and the pages exchange."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class HttpRequest(Struct, frozen=True):
    """A request without its body. `headers` has lower-case names and the first value of each.

    `peer` is the client's address without its port.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    peer: str

    def header(self, name: str) -> str:
        """The value of a header, "" if it is missing. `name` is in lower case."""
        return self.headers.get(name.encode(), b"").decode("latin-1")


class Response(Struct, frozen=True):
    """A response. `headers` excludes Content-Type, Content-Length and the headers of every response."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


def text(status: int, sentence: str, **headers: str) -> Response:
    """A response of one sentence. The keyword `retry_after` becomes the header `Retry-After`."""
    named: dict[str, Any] = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Response(status, sentence.encode() + b"\n", headers=named)
