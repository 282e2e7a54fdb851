"""The types of a WSGI application, and the ways in which a program of ours ends a request itself."""

import errno
import json
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import gevent
from gevent import GreenletExit

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


#: The codes in the body of a response, where the code is not the phrase of the status.
_CODES = {413: "too_large", 414: "uri_too_long", 431: "headers_too_large", 503: "unavailable"}


class RefusedError(Exception):
    """The program responds itself, in the shape of Dify's errors (api/libs/external_api.py).

    `close` is True if the client's connection must close afterwards, because the bytes that follow cannot be trusted.
    """

    def __init__(self, status_code: int, message: str, close: bool = False, code: str = "") -> None:
        """`code` replaces the usual code of the status."""
        super().__init__(message)
        self.status_code, self.close = status_code, close
        phrase = HTTPStatus(status_code).phrase
        self.status = f"{status_code} {phrase}"
        self.code = code or _CODES.get(status_code) or phrase.lower().replace(" ", "_")

    def body(self) -> bytes:
        return json.dumps({"code": self.code, "message": str(self), "status": self.status_code}).encode() + b"\n"


class ClientDisconnected(GreenletExit):
    """Thrown into the greenlet of a request when its client disconnects, or is too slow.

    GreenletExit is no Exception, so no `except Exception` handles it as an error of the program.
    """


def abort_error() -> OSError:
    """The error that makes gunicorn close the client's connection at once.

    gunicorn sends nothing more, so the client can see that a started response is incomplete.
    """
    return BrokenPipeError(errno.EPIPE, "the connection is aborted")


class ActiveRequests:
    """The client sockets of the active requests of one worker, oldest first, each with the greenlet that serves it."""

    def __init__(self) -> None:
        self.greenlets: dict[socket.socket, Any] = {}

    def add(self, client: socket.socket) -> None:
        """The current greenlet serves a request of this client."""
        self.greenlets[client] = gevent.getcurrent()

    def remove(self, client: socket.socket) -> None:
        self.greenlets.pop(client, None)

    def abort(self, client: socket.socket) -> None:
        """End the request: ClientDisconnected is thrown into its greenlet."""
        self.greenlets.pop(client).kill(ClientDisconnected, block=False)
