"""Reads files again when they have changed."""

import logging
import os
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from exporter.process.special_files import stat_signature

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Reloaded(Generic[T]):
    """A value that is read from files. If a changed file cannot be used, the old value stays in use. An editor may be
    replacing the file, or an issuer may have written a certificate and not yet its key.
    """

    def __init__(self, name: str, files: Iterable[str], read: Callable[[], T]) -> None:
        """`name` is for log messages. Raises what `read` raises: OSError or ValueError."""
        self._name, self._files, self._read = name, tuple(files), read
        self._versions = self._file_versions()
        self._value = read()

    def current(self) -> T:
        versions = self._file_versions()
        if versions != self._versions:
            self._versions = versions
            try:
                self._value = self._read()
                _log.info("the changed %s is in use", self._name)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                _log.error("the changed %s is not used, the old one stays in use: %s", self._name, reason)
        return self._value

    def _file_versions(self) -> list[tuple[int, ...]]:
        return [*map(_version, self._files)]


def _version(file: str) -> tuple[int, ...]:
    """Numbers that change when the file is replaced or written; () if there is no such file."""
    try:
        return stat_signature(os.stat(file))
    except OSError:
        return ()
