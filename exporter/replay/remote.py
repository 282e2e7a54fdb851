"""Reads archives at addresses such as `s3://bucket/logs/access.log.gz`, by fsspec and its filesystems.

This is the only module that loads fsspec. Addresses and the errors of filesystems may hold credentials, so a message
shows only `exporter.messages.address`.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from typing import Any, cast

from exporter.messages import address
from exporter.replay.errors import InputError
from parsers.values.patterns import lazy

_ADDRESS = lazy(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

#: How many bytes are fetched at once.
_FETCH = 8 << 20

#: What distinguishes two versions of an object, in the order of preference: the names of the filesystems.
_VERSIONS = (
    "ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "Last-Modified", "mtime",
    "modificationTime",
)  # fmt: skip

#: Packages whose logs are switched off: they log each retry, and a traceback of an error that becomes a sentence here.
_TALKATIVE = ("gcsfs", "s3fs", "fsspec", "azure")

_REFUSED = "may not be read: the credentials are missing or do not suffice"


def is_remote(name: str) -> bool:
    """Whether a name is an address and not a path."""
    return _ADDRESS.match(name) is not None


def expanded(name: str) -> list[str]:
    """The addresses that a pattern matches, sorted; an address without `*` matches itself. Raises InputError."""
    if "*" not in name.partition("?")[0]:
        return [name]
    with _errors(name):
        system, path = _resolved(name)
        found = sorted(system.glob(path))
    if not found:
        raise InputError(f"{address(name)}: nothing matches")
    begin = name.removesuffix(path)
    return [begin + each for each in found]


@contextmanager
def opened(name: str) -> Iterator[BufferedReader]:
    """Open an address. Raises InputError, also for an error while it is read, or if it was replaced meanwhile."""
    before = version(name)
    with _errors(name):
        system, path = _resolved(name)
        file = system.open(path, "rb", block_size=_FETCH, cache_type="readahead")
    with file, BufferedReader(_RemoteFile(name, file), 1 << 20) as reader:
        yield cast(BufferedReader, reader)
    if version(name) != before:
        raise InputError(f"{address(name)}: was changed while it was read: run the command again")


def size(file: BufferedReader) -> int | None:
    """The size of an opened address that can be read at any offset; else None."""
    raw = file.raw
    assert isinstance(raw, _RemoteFile)
    return raw.size


def version(name: str) -> str:
    """What distinguishes the present content of an address from another one, without reading it. Raises InputError."""
    with _errors(name):
        system, path = _resolved(name)
        system.invalidate_cache()
        details = system.info(path)
    found = next((str(details[key]) for key in _VERSIONS if details.get(key)), "")
    return f"{details.get('size')} {found}"


class _RemoteFile(RawIOBase):
    def __init__(self, name: str, file: Any) -> None:
        self._name, self._file = name, file
        self.size: int | None = file.size if file.seekable() else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.size is not None

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _errors(self._name):
            block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _resolved(name: str) -> tuple[Any, str]:
    """The filesystem of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(f"{address(name)}: install dify-exporter[remote] to read such addresses") from None
    for package in _TALKATIVE:
        logging.getLogger(package).setLevel(logging.CRITICAL + 1)
    system, path = url_to_fs(name)
    return system, path


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Raise InputError for anything that a filesystem raises: each one has errors of its own."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{address(name)}: {_problem(error, name)}") from None


def _problem(error: Exception, name: str) -> str:
    # The filesystem of HTTP raises FileNotFoundError for any other error too.
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else error
    status = _status(cause)
    if isinstance(error, PermissionError) or status in (401, 403):
        return _REFUSED
    if status == 404 or (isinstance(error, FileNotFoundError) and not isinstance(cause, OSError) and status is None):
        return "does not exist"
    if isinstance(error, FileNotFoundError):
        return "the server cannot be reached" if status is None else f"the server answers with the status {status}"
    if isinstance(error, ImportError):
        return f"a package is missing: {error}"
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"cannot be read: {kind}{_reason(error, name)}"


def _status(error: object) -> int | None:
    """The status of an HTTP answer that became an error. The clients keep it in different places."""
    places = (error, getattr(error, "response", None))
    found = (getattr(place, name, None) for place in places for name in ("status", "status_code", "code"))
    return next((each for each in found if isinstance(each, int)), None)


def _reason(error: Exception, name: str) -> str:
    """What an error says, without the address and without the secrets of it."""
    text = " ".join(str(error).split())
    for part in sorted(re.split(r"[/?&#=:@]+", name), key=len, reverse=True):
        if len(part) > 3 and part not in address(name):
            text = text.replace(part, "…")
    return address(text) or "no reason is given"
