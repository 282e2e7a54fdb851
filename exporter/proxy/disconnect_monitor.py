"""Detects clients that disconnect while their request waits for Dify. Nothing reads from their sockets meanwhile."""

import select

from gevent import monkey

from exporter.wsgi.active_requests import ActiveRequests

_poll = monkey.get_original("select", "poll")  # gevent's version switches to the event loop even with timeout 0

#: On Linux POLLRDHUP reports that the peer has closed even if unread bytes precede the close.
_DISCONNECTED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class DisconnectMonitor(ActiveRequests):
    """The active requests of one worker, of which `check` ends those whose client has disconnected."""

    def check(self) -> None:
        """Poll all sockets once. The worker calls this several times per second."""
        poll = _poll()
        clients = {client.fileno(): client for client in self._greenlets}
        for descriptor in clients:
            poll.register(descriptor, _DISCONNECTED)
        for descriptor, _ in poll.poll(0):
            self.abort(clients[descriptor])
