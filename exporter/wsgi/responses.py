"""The types of a WSGI application, and the responses that the proxy and the receiver make alike."""

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

#: No route of Dify begins with `/-/`, so this path hides none.
HEALTH_PATH = "/-/healthy"
#: The worker stores a function under this key of the environ. It closes the client's connection after the response.
CLOSE_CONNECTION = "dify_exporter.close"


def respond_healthy(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The response to a request for HEALTH_PATH: the process runs."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "3")])
    return body_pieces(environ, b"ok\n")


def body_pieces(environ: Environ, body: bytes) -> list[bytes]:
    """The body of a response that the program itself makes. A response to HEAD has none."""
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def has_unread_body(environ: Environ) -> bool:
    """Whether the request has a body, so that the connection must close if nobody reads it."""
    return "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ
