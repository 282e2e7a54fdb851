"""gunicorn with gevent workers, configured for requests that take minutes and for untrusted clients."""

import secrets
from typing import Any

from msgspec import Struct

from exporter.config.proxy import ProxyConfig
from exporter.proxy.app import App
from exporter.proxy.disconnect_monitor import DisconnectMonitor
from exporter.proxy.log import RequestLog
from exporter.proxy.request_record import RequestRecord
from exporter.wsgi.errors import RefusedError
from exporter.wsgi.log_file import LogFile
from exporter.wsgi.responses import Application
from exporter.wsgi.server import Server, Worker
from parsers.access.routes import INVALID, table

_MAX_CONNECTIONS = 4096


class Startup(Struct, frozen=True):
    """What `dify-exporter proxy` passes to the process that it starts. The path of the log is absolute."""

    settings: ProxyConfig
    routes: tuple[str, ...] = ()


class ProxyServer(Server):
    """The master of the proxy's workers. It logs that a worker has ended, even if the worker was killed."""

    def __init__(self, startup: Startup) -> None:
        self._startup = startup
        self._boot_id = secrets.token_hex(4)
        super().__init__(
            startup.settings.listen,
            _MAX_CONNECTIONS,
            workers=startup.settings.workers,
            worker_class=ProxyWorker,
            child_exit=self._log_worker_end,
        )

    def make_app(self, age: int) -> tuple[App, RequestLog, DisconnectMonitor]:
        """The application of one worker. `age` is the number that gunicorn gives the worker."""
        log, monitor = self._request_log(age), DisconnectMonitor()
        return App(self._startup.settings, table(self._startup.routes), log, monitor), log, monitor

    def _request_log(self, age: int) -> RequestLog:
        settings = self._startup.settings
        file = LogFile(settings.log, settings.log_max_bytes, settings.log_backups)
        return RequestLog(file, f"{self._boot_id}-{age}")

    def _log_worker_end(self, _: object, worker: Any) -> None:
        log = self._request_log(worker.age)
        log.worker_ended()
        log.close()


class ProxyWorker(Worker):
    """A worker that also logs malformed requests and detects disconnects."""

    def start_application(self) -> Application:
        assert isinstance(self.app, ProxyServer)
        application, self._log, self._monitor = self.app.make_app(self.age)
        self.requests = self._monitor
        self._upstream = application.upstream
        return application

    def refused(self, error: RefusedError) -> None:
        record = RequestRecord({"REQUEST_METHOD": "-"}, INVALID, None, self._log)
        record.status_code = error.status_code
        record.finish()

    def check_clients(self) -> None:
        self._monitor.check()

    def every_second(self) -> None:
        self._log.heartbeat()
        self._upstream.close_expired()

    def ended(self) -> None:
        self._log.worker_ended()
