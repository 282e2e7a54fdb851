"""Notices clients that leave while their request waits for Dify: nobody reads from their connections meanwhile."""

import select
import socket
from typing import Any

import gevent
from gevent import monkey

from exporter.proxy.errors import ClientLeft

_poll = monkey.get_original("select", "poll")  # gevent's goes through the loop even to ask

#: Linux says that the other side has closed even where unread bytes lie before it.
_LEFT = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class DisconnectMonitor:
    """The clients of the requests that a worker holds, each with the greenlet that serves it."""

    def __init__(self) -> None:
        self._served: dict[socket.socket, Any] = {}

    def begin(self, client: socket.socket) -> None:
        """From now on ClientLeft is thrown into this greenlet soon after its client has closed."""
        self._served[client] = gevent.getcurrent()

    def end(self, client: socket.socket) -> None:
        """The request is over."""
        self._served.pop(client, None)

    def holds(self, client: socket.socket) -> bool:
        """True while a request of this client is served."""
        return client in self._served

    def greenlets(self) -> list[Any]:
        """Those of the requests that are served."""
        return [*self._served.values()]

    def look(self) -> None:
        """Asks all sockets at once; called several times a second."""
        poll = _poll()
        clients = {client.fileno(): client for client in self._served}
        for descriptor in clients:
            poll.register(descriptor, _LEFT)
        for descriptor, _ in poll.poll(0):
            self._served.pop(clients[descriptor]).kill(ClientLeft, block=False)
