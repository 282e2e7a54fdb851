"""The requests that a worker serves now. gevent serves each in a greenlet of its own."""

import socket
from typing import Any

import gevent

from exporter.wsgi.responses import ClientDisconnected


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
