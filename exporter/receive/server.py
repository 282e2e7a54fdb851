"""The server of the receiver: one worker, because the worker alone knows which facts are in the log."""

import logging

import gevent

from exporter.config.wsgi import ReceiveConfig
from exporter.process.limits import limit_growth
from exporter.receive.app import App, OpenRequests
from exporter.receive.fact_log import FactLog, newest_first
from exporter.wsgi.log_file import LogFile
from exporter.wsgi.responses import Application
from exporter.wsgi.server import Server, Worker

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 512
_LOCK_POLL_SECONDS = 0.1
#: For a body of 64 MiB, what is decoded of it, and the known keys. The process begins with about 40 MB.
_MEMORY_BYTES = 104 << 20


#: What `dify-exporter receive` passes: the settings, with absolute paths.
Startup = tuple[ReceiveConfig]


class Master(Server):
    def __init__(self, settings: ReceiveConfig) -> None:
        self.settings = settings
        super().__init__(settings.listen, _MAX_CONNECTIONS, workers=1, worker_class=ReceiveWorker)


class ReceiveWorker(Worker):
    """The worker. It begins to serve when no other process writes the log, and when it has read the facts in it."""

    def start_application(self) -> Application:
        assert isinstance(self.app, Master)
        settings = self.app.settings
        file = LogFile(settings.log, settings.log_max_bytes, settings.log_backups, is_exclusive=True)
        self._lock(file)
        limit_growth(_MEMORY_BYTES)
        self._facts, requests = FactLog(file), OpenRequests()
        self.requests = requests
        self._facts.find_again(newest_first(settings.log))
        return App(settings, self._facts, requests)

    def every_second(self) -> None:
        self._facts.every_second()

    def ended(self) -> None:
        self._facts.write_heartbeat()

    def _lock(self, file: LogFile) -> None:
        """Wait until no other worker or receiver writes the log. Two of them would write a fact twice."""
        is_waiting = False
        while self.alive:
            try:
                file.open()
                file.remove_half_line()
                return
            except BlockingIOError:
                if not is_waiting:
                    _log.warning("%s is locked by another receiver; this one waits for its end", file.path)
                is_waiting = True
                self.notify()
                gevent.sleep(_LOCK_POLL_SECONDS)
            except OSError as error:  # each request will get 503
                _log.warning("log: %s cannot be opened: %s", file.path, error.strerror)
                return
