"""Detects clients that disconnect while their request waits for Dify. Nothing reads from their sockets meanwhile."""

import select
import socket
from typing import Any

import gevent
from gevent import monkey

from exporter.proxy.errors import ClientDisconnected

_poll = monkey.get_original("select", "poll")  # gevent's version switches to the event loop even with timeout 0

#: On Linux POLLRDHUP reports that the peer has closed even if unread bytes precede the close.
_DISCONNECTED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class DisconnectMonitor:
    """The client sockets of the active requests of one worker, each with the greenlet that serves the request."""

    def __init__(self) -> None:
        self._greenlets: dict[socket.socket, Any] = {}

    def add(self, client: socket.socket) -> None:
        """Watch the client of the current greenlet. `check` throws ClientDisconnected into it after a disconnect."""
        self._greenlets[client] = gevent.getcurrent()

    def remove(self, client: socket.socket) -> None:
        """Stop watching: the request is finished."""
        self._greenlets.pop(client, None)

    def has_request(self, client: socket.socket) -> bool:
        """Whether a request of this client is active."""
        return client in self._greenlets

    def greenlets(self) -> list[Any]:
        """The greenlets of all active requests."""
        return [*self._greenlets.values()]

    def check(self) -> None:
        """Poll all sockets once. The worker calls this several times per second."""
        poll = _poll()
        clients = {client.fileno(): client for client in self._greenlets}
        for descriptor in clients:
            poll.register(descriptor, _DISCONNECTED)
        for descriptor, _ in poll.poll(0):
            self._greenlets.pop(clients[descriptor]).kill(ClientDisconnected, block=False)
