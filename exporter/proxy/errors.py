"""The ways in which a request ends without a complete response from Dify."""

import errno
import json

from gevent import GreenletExit


class RefusedError(Exception):
    """The proxy responds itself, in the shape of Dify's errors (api/libs/external_api.py).

    `close` is True if the client's connection must close afterwards, because the bytes that follow cannot be trusted.
    """

    def __init__(self, status: str, code: str, message: str, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.close = close

    def body(self) -> bytes:
        """The JSON body of the response."""
        return json.dumps({"code": self.code, "message": str(self), "status": int(self.status[:3])}).encode() + b"\n"


class UpstreamError(Exception):
    """Dify did not respond, or its response is incomplete. `outcome` is the value for the log line."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def refusal(self) -> RefusedError:
        """The response to the client if none has started."""
        if self.outcome == "upstream_timeout":
            return RefusedError("504 Gateway Timeout", "gateway_timeout", "Dify did not answer in time")
        return RefusedError("502 Bad Gateway", "bad_gateway", _SENTENCES[self.outcome])


_SENTENCES = {
    "upstream_refused": "no connection to Dify",
    "upstream_reset": "Dify closed the connection without a complete answer",
}


class ClientDisconnected(GreenletExit):
    """Thrown into the greenlet of a request when its client disconnects.

    GreenletExit is no Exception, so no `except Exception` handles it as an error of Dify.
    """


def abort_error() -> OSError:
    """The error that makes gunicorn close the client's connection at once.

    gunicorn sends nothing more, so the client can see that a started response is incomplete.
    """
    return BrokenPipeError(errno.EPIPE, "the connection is aborted")
