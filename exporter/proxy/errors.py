"""How a request can end otherwise than with Dify's answer."""

import errno
import json

from gevent import GreenletExit


class RefusedError(Exception):
    """An answer of our own, in the shape of Dify's errors (api/libs/external_api.py).

    `close` where what follows on the client's connection cannot be trusted or is not worth reading.
    """

    def __init__(self, status: str, code: str, message: str, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.close = close

    def body(self) -> bytes:
        """The JSON that the client gets."""
        return json.dumps({"code": self.code, "message": str(self), "status": int(self.status[:3])}).encode() + b"\n"


class UpstreamError(Exception):
    """Dify did not answer, or broke off. `outcome` as in the line; `timed_out` makes it a 504 instead of a 502."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def refusal(self) -> RefusedError:
        """What the client is told if its answer has not begun."""
        if self.outcome == "upstream_timeout":
            return RefusedError("504 Gateway Timeout", "gateway_timeout", "Dify did not answer in time")
        return RefusedError("502 Bad Gateway", "bad_gateway", _SENTENCES[self.outcome])


_SENTENCES = {
    "upstream_refused": "no connection to Dify",
    "upstream_reset": "Dify closed the connection without a complete answer",
}


class ClientLeft(GreenletExit):
    """Thrown into a request's greenlet when its client has gone. No Exception, so nobody takes it for Dify's."""


def hang_up() -> OSError:
    """Ends the client's connection at once: gunicorn closes it without a word, and a started answer stays cut."""
    return BrokenPipeError(errno.EPIPE, "the connection ends here")
