"""Makes what is no regular file at a path."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        before = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has at most 107 bytes
        try:
            bound.bind(path.name)
        finally:
            os.chdir(before)


MAKE: Mapping[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": os.mkdir,
    "a socket": _bind,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "Too many levels of symbolic links": lambda path: path.symlink_to(path.name),
}
