"""The ways in which Dify fails to respond to the proxy."""

from exporter.wsgi.errors import RefusedError


class UpstreamError(Exception):
    """Dify did not respond, or its response is incomplete. `outcome` is the value for the log line."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def refusal(self) -> RefusedError:
        """The response to the client if none has started."""
        return RefusedError(*_REFUSALS[self.outcome])


_REFUSALS = {
    "upstream_timeout": (504, "Dify did not answer in time"),
    "upstream_refused": (502, "no connection to Dify"),
    "upstream_reset": (502, "Dify closed the connection without a complete answer"),
}
