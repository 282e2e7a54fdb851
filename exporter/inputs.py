"""The files that `replay` and `check` read once: plain, gzip, or standard input."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from exporter.feed import Read

_GZIP_MAGIC = b"\x1f\x8b"

#: Enough lines to tell one format from another.
SAMPLE_BYTES = 1 << 18


class InputError(Exception):
    """One sentence: which input cannot be read, and why."""


@contextmanager
def reading(name: str) -> Iterator[tuple[bytes, Read]]:
    """A sample of the beginning, and a function that reads everything from the beginning on.

    `-` is standard input; gzip is known by its first two bytes. Raises InputError.
    """
    try:
        with _open(name) as stream:
            sample = stream.read(SAMPLE_BYTES)
            waiting = [sample]

            def read(size: int) -> bytes:
                if not waiting:
                    return stream.read(size)
                head = waiting.pop()
                if head[size:]:
                    waiting.append(head[size:])
                return head[:size] or stream.read(size)

            yield sample, read
    except (OSError, EOFError) as error:  # EOFError: a gzip file that ends too early
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        magic = file.read(2)
        file.seek(0)
        if magic == _GZIP_MAGIC:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
        else:
            yield file


def ending(file: str) -> bytes:
    """The last lines of a file, in which its present format shows. Raises InputError."""
    with reading(file) as (sample, _):
        size = Path(file).stat().st_size
        if len(sample) < SAMPLE_BYTES or sample[:2] == _GZIP_MAGIC:
            return sample
    try:
        with Path(file).open("rb") as stream:
            stream.seek(max(0, size - SAMPLE_BYTES))
            return stream.read(SAMPLE_BYTES).partition(b"\n")[2]
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
