"""The limit on open requests."""

import socket
import time

from exporter.wsgi.active_requests import ActiveRequests

_MAX_OPEN = 64
#: A body of 1 MB takes much less time, even through a slow network.
_SLOW_SECONDS = 5.0


class OpenRequests(ActiveRequests):
    """The open requests of the worker. A client that sends slowly does not keep the place of another for long."""

    def __init__(self) -> None:
        super().__init__()
        self._added_at: dict[socket.socket, float] = {}

    def admit(self, client: socket.socket) -> bool:
        """Add a request. If there are too many, the oldest one is aborted if it is slow. Otherwise return False."""
        if len(self) >= _MAX_OPEN:
            oldest = next(iter(self._greenlets))
            if time.monotonic() - self._added_at[oldest] < _SLOW_SECONDS:
                return False
            self.abort(oldest)
        self._added_at[client] = time.monotonic()
        self.add(client)
        return True

    def remove(self, client: socket.socket) -> None:
        super().remove(client)
        self._added_at.pop(client, None)
