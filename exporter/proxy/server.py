"""gunicorn with gevent workers, configured for requests that take minutes and for untrusted clients."""

import secrets
import select
from typing import Any

from exporter.config.wsgi import ProxyConfig
from exporter.proxy.app import App
from exporter.proxy.log import RequestLog, RequestRecord
from exporter.proxy.upstream import new_poll
from exporter.wsgi.log_file import LogFile
from exporter.wsgi.responses import ActiveRequests, Application, RefusedError
from exporter.wsgi.server import Server, Worker
from parsers.access.routes import INVALID, table

_MAX_CONNECTIONS = 4096
#: On Linux POLLRDHUP reports that the peer has closed even if unread bytes precede the close.
_DISCONNECTED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

#: What `dify-exporter proxy` passes: the settings, with absolute paths, and the extra routes.
Startup = tuple[ProxyConfig, tuple[str, ...]]


class Master(Server):
    """The master of the proxy's workers. It logs that a worker has ended, even if the worker was killed."""

    def __init__(self, settings: ProxyConfig, routes: tuple[str, ...]) -> None:
        self.settings, self.routes = settings, routes
        self._boot_id = secrets.token_hex(4)
        super().__init__(
            settings.listen,
            _MAX_CONNECTIONS,
            workers=settings.workers,
            worker_class=ProxyWorker,
            child_exit=self._log_worker_end,
        )

    def request_log(self, age: int) -> RequestLog:
        """The log of one worker. `age` is the number that gunicorn gives the worker."""
        file = LogFile(self.settings.log, self.settings.log_max_bytes, self.settings.log_backups)
        return RequestLog(file, f"{self._boot_id}-{age}")

    def _log_worker_end(self, _: object, worker: Any) -> None:
        log = self.request_log(worker.age)
        log.worker_ended()
        log.close()


class ProxyWorker(Worker):
    """A worker that also logs malformed requests and detects disconnects."""

    def start_application(self) -> Application:
        assert isinstance(self.app, Master)
        self._log, self.requests = self.app.request_log(self.age), ActiveRequests()
        application = App(self.app.settings, table(self.app.routes), self._log, self.requests)
        self._upstream = application.upstream
        return application

    def refused(self, error: RefusedError) -> None:
        record = RequestRecord({"REQUEST_METHOD": "-"}, INVALID, None, self._log)
        record.status_code = error.status_code
        record.finish()

    def check_clients(self) -> None:
        """End the requests of clients that disconnect while Dify works: nothing reads from their sockets meanwhile."""
        poll, clients = new_poll(), {client.fileno(): client for client in self.requests.greenlets}
        for descriptor in clients:
            poll.register(descriptor, _DISCONNECTED)
        for descriptor, _ in poll.poll(0):
            self.requests.abort(clients[descriptor])

    def every_second(self) -> None:
        self._log.heartbeat()
        self._upstream.close_expired()

    def ended(self) -> None:
        self._log.worker_ended()
