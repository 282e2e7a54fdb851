"""Recognises paths that are not regular files. Opening a FIFO waits for another program, and reading a device may never
end."""

import errno
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refuse_special(path: Path) -> None:
    """Raise OSError if the path names something else than a regular file. The path need not exist."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError:
        return
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {KINDS.get(kind, 'no file')}, expected a regular file", str(path))


def is_stream(name: str) -> bool:
    """Whether the name is a stream that the shell has opened: standard input, or `<(command)`."""
    return name == "/dev/stdin" or os.path.dirname(name) in ("/dev/fd", "/proc/self/fd")
