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
        self.startup = startup
        self._boot_id = secrets.token_hex(4)
        super().__init__(
            startup.settings.listen,
            _MAX_CONNECTIONS,
            workers=startup.settings.workers,
            worker_class=ProxyWorker,
            child_exit=self._log_worker_end,
        )

    def request_log(self, age: int) -> RequestLog:
        """The log of one worker. `age` is the number that gunicorn gives the worker."""
        settings = self.startup.settings
        file = LogFile(settings.log, settings.log_max_bytes, settings.log_backups)
        return RequestLog(file, f"{self._boot_id}-{age}")

    def _log_worker_end(self, _: object, worker: Any) -> None:
        log = self.request_log(worker.age)
        log.worker_ended()
        log.close()


class ProxyWorker(Worker):
    """A worker that also logs malformed requests and detects disconnects."""

    requests: DisconnectMonitor

    def start_application(self) -> Application:
        assert isinstance(self.app, ProxyServer)
        startup = self.app.startup
        self._log, self.requests = self.app.request_log(self.age), DisconnectMonitor()
        application = App(startup.settings, table(startup.routes), self._log, self.requests)
        self._upstream = application.upstream
        return application

    def refused(self, error: RefusedError) -> None:
        record = RequestRecord({"REQUEST_METHOD": "-"}, INVALID, None, self._log)
        record.status_code = error.status_code
        record.finish()

    def check_clients(self) -> None:
        self.requests.check()

    def every_second(self) -> None:
        self._log.heartbeat()
        self._upstream.close_expired()

    def ended(self) -> None:
        self._log.worker_ended()
