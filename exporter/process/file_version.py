"""Recognises that a file has changed."""

import os


def file_version(path: str) -> tuple[int, ...]:
    """Numbers that change when the file is replaced or written; () if there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
