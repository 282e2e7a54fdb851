"""The requests that a worker serves now. gevent serves each in a greenlet of its own."""

import socket
from typing import Any

import gevent

from exporter.wsgi.errors import ClientDisconnected


class ActiveRequests:
    """The client sockets of the active requests of one worker, oldest first, each with the greenlet that serves it."""

    def __init__(self) -> None:
        self._greenlets: dict[socket.socket, Any] = {}

    def __len__(self) -> int:
        return len(self._greenlets)

    def add(self, client: socket.socket) -> None:
        """The current greenlet serves a request of this client."""
        self._greenlets[client] = gevent.getcurrent()

    def remove(self, client: socket.socket) -> None:
        self._greenlets.pop(client, None)

    def has_request(self, client: socket.socket) -> bool:
        return client in self._greenlets

    def greenlets(self) -> list[Any]:
        return [*self._greenlets.values()]

    def abort(self, client: socket.socket) -> None:
        """End the request: ClientDisconnected is thrown into its greenlet."""
        self._greenlets.pop(client).kill(ClientDisconnected, block=False)
