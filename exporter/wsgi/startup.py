"""The start of a process of its own: the command passes the settings in a file that has no name."""

import os
import signal
import sys
from typing import TypeVar

import msgspec

from exporter.process.limits import raise_fd_limit
from exporter.process.signals import unblock

T = TypeVar("T")


def read_startup(wanted: type[T]) -> T:
    """Read what the command has passed (cli/wsgi.py). Its descriptor is the first argument.

    The command has blocked the signals. From now on SIGINT ends the process without a traceback, until gunicorn handles
    it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock()
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        startup = msgspec.json.decode(file.read(), type=wanted)
    raise_fd_limit()
    return startup
