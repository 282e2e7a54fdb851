"""The start of a process of its own: the command passes the settings in a file that has no name."""

import os
import sys
from typing import TypeVar

import msgspec

from exporter.process.fd_limit import raise_fd_limit

T = TypeVar("T")


def read_startup(wanted: type[T]) -> T:
    """Read what the command has passed (cli/wsgi.py). Its descriptor is the first argument."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        startup = msgspec.json.decode(file.read(), type=wanted)
    raise_fd_limit()
    return startup
