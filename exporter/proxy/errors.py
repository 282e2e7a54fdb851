"""The ways in which Dify fails to respond to the proxy."""

from exporter.wsgi.errors import RefusedError


class UpstreamError(Exception):
    """Dify did not respond, or its response is incomplete. `outcome` is the value for the log line."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def refusal(self) -> RefusedError:
        """The response to the client if none has started."""
        if self.outcome == "upstream_timeout":
            return RefusedError(504, "Dify did not answer in time")
        return RefusedError(502, _SENTENCES[self.outcome])


_SENTENCES = {
    "upstream_refused": "no connection to Dify",
    "upstream_reset": "Dify closed the connection without a complete answer",
}
