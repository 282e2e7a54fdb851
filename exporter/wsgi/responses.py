"""The types of a WSGI application, and the responses that the proxy and the receiver make alike."""

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Field = tuple[str, str]
StartResponse = Callable[[str, list[Field]], Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

#: No route of Dify begins with `/-/`, so this path hides none.
HEALTH_PATH = "/-/healthy"
#: The worker stores a function under this key of the environ. It closes the client's connection after the response.
CLOSE_CONNECTION = "dify_exporter.close"


def respond_healthy(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The response to a request for HEALTH_PATH: the process runs."""
    return respond(environ, start_response, "200 OK", "text/plain; charset=utf-8", b"ok\n")


def respond(
    environ: Environ, start_response: StartResponse, status: str, content_type: str, body: bytes, *fields: Field
) -> list[bytes]:
    """A response that the program itself makes. A response to HEAD has no body."""
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *fields])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def has_unread_body(environ: Environ) -> bool:
    """Whether the request has a body, so that the connection must close if nobody reads it."""
    return "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ
