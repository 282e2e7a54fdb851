"""The lines in the log and in its rotated files, the newest first."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_BLOCK_BYTES = 1 << 20
#: A limit of the work at the start: with lines of 700 bytes this holds far more keys than are remembered.
_MAX_READ_BYTES = 256 << 20


def newest_first(log: str) -> Iterator[bytes]:
    """Files that cannot be read are left out."""
    left = _MAX_READ_BYTES
    for path in (log, *_rotated(Path(os.path.realpath(log)))):
        if not os.path.isfile(path):  # opening a FIFO would wait for its writer
            continue
        try:
            for block in _blocks_from_the_end(path):
                yield from reversed(block.splitlines())
                left -= len(block)
                if left <= 0:
                    return
        except OSError:
            continue


def _rotated(log: Path) -> list[str]:
    """The rotated files of a log, newest first: receive.log.1, receive.log-20261130, receive-20261130.log.

    Packed files are left out: they cannot be read from the end.
    """
    name = re.compile(re.escape(log.stem) + r"[.-].*\d.*(?<!\.gz)")
    modified: dict[str, int] = {}
    for each in os.listdir(log.parent) if os.access(log.parent, os.R_OK) else ():
        path = str(log.parent / each)
        if name.fullmatch(each) and each != log.name and os.path.isfile(path):
            with suppress(OSError):  # it was rotated away in this moment
                modified[path] = os.stat(path).st_mtime_ns
    return sorted(modified, key=modified.__getitem__, reverse=True)


def _blocks_from_the_end(path: str) -> Iterator[bytes]:
    """Blocks of whole lines, the last one first. A line that is longer than a block is not ours: there it ends."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0 and len(rest) <= _BLOCK_BYTES:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin) + rest
            cut = (block.find(b"\n") + 1 or len(block)) if begin else 0
            rest, end = block[:cut], begin
            yield block[cut:]
