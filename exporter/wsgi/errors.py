"""The ways in which a program of ours ends a request: a response of its own, or a connection that it closes."""

import errno
import json

from gevent import GreenletExit


class RefusedError(Exception):
    """The program responds itself, in the shape of Dify's errors (api/libs/external_api.py).

    `close` is True if the client's connection must close afterwards, because the bytes that follow cannot be trusted.
    """

    def __init__(self, status: str, code: str, message: str, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.close = close

    @property
    def status_code(self) -> int:
        return int(self.status[:3])

    def body(self) -> bytes:
        """The JSON body of the response."""
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
