"""The process that `dify-exporter proxy` or `receive` starts. gevent must patch before anything imports `ssl`."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from importlib import import_module  # noqa: E402

import msgspec  # noqa: E402

from exporter.process.limits import raise_fd_limit  # noqa: E402
from exporter.process.signals import unblock  # noqa: E402

if __name__ == "__main__":
    table, descriptor = sys.argv[1:]
    server = import_module(f"exporter.{table}.server")
    with os.fdopen(int(descriptor), "rb") as file:  # cli/wsgi.py has written it
        startup = msgspec.json.decode(file.read(), type=server.Startup)
    # The command has blocked the signals. From now on SIGINT ends the process without a traceback, until gunicorn
    # handles it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock()
    raise_fd_limit()
    server.Master(*startup).run()
