"""Reads archives at addresses such as `s3://bucket/logs/access.log.gz`, by fsspec and its filesystems.

This is the only module that loads fsspec. Addresses and the errors of filesystems may hold credentials, so a message
shows only `exporter.messages.address`.
"""

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from threading import Thread
from typing import Any, TypeVar, cast

from exporter.messages import address
from exporter.replay.errors import InputError
from parsers.values.patterns import lazy

_T = TypeVar("_T")

_ADDRESS = lazy(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

#: How many bytes are fetched at once.
_FETCH = 8 << 20

#: A filesystem must respond within so many seconds. The clients of HDFS have no timeout for a server that hangs.
_TIMEOUT = 300.0

#: Settings of the HDFS client: it tries to reach a NameNode for half a minute, instead of three minutes.
_HDFS = {"dfs.client.failover.max.attempts": "5"}

#: The form of most of its errors: `RPCError("java.Class", "what happened\n\tat …")`.
_HDFS_ERROR = re.compile(r'\w+\("(?:[\w.$]+", ")?(.*?)(?:\\n|: \[|"\)$)')

#: What distinguishes two versions of an object, in the order of preference: the names of the filesystems.
_VERSIONS = (
    "ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "Last-Modified", "mtime",
    "modificationTime", "modification_time",
)  # fmt: skip

#: Packages whose logs are switched off: they log each retry, and a traceback of an error that becomes a sentence here.
_TALKATIVE = ("gcsfs", "s3fs", "fsspec", "azure")

_UNREACHABLE = "the server cannot be reached"
_REFUSED = "may not be read: the credentials are missing or do not suffice"


def is_remote(name: str) -> bool:
    return _ADDRESS.match(name) is not None


def expanded(name: str) -> list[str]:
    """The files that a pattern matches, sorted; an address without `*` matches itself. Raises InputError."""
    if "*" not in name.partition("?")[0]:
        return [name]
    system, path = _resolved(name)
    # Without it they leave out a folder that they cannot list. Object stores have no folders and refuse the argument.
    strict = {"on_error": "raise"} if name.startswith(("hdfs:", "webhdfs:")) else {}
    matched = _call(name, lambda: system.glob(path, detail=True, **strict))
    # An object whose name ends with a slash is a folder that a web page of the store has made.
    found = sorted(each for each, its in matched.items() if its.get("type") != "directory" and each[-1] != "/")
    if not found:
        raise InputError(f"{address(name)}: no file matches")
    # The end that both have is the pattern; before it, the address may hold more, such as the account of a container.
    start = next((start for start in range(len(path)) if name.endswith(path[start:])), len(path))
    begin, folder = name.removesuffix(path[start:]), path[:start]
    names = [begin + each.removeprefix(folder) for each in found]
    for each, its_name in zip(found, names, strict=True):
        if _resolved(its_name)[1] != each:  # it would name another file, such as /a for /a#1
            raise InputError(f"{address(name)}: matches a file whose name no address can hold: {each}")
    return names


@contextmanager
def opened(name: str) -> Iterator[BufferedReader]:
    """Open an address. Raises InputError, also for an error while it is read, or if it was replaced meanwhile."""
    before = version(name)
    system, path = _resolved(name)
    # The HDFS client has a buffer of its own. With a block size it returns a file that cannot be read.
    buffers = {} if system.protocol == "hdfs" else {"block_size": _FETCH, "cache_type": "readahead"}
    file = _call(name, lambda: system.open(path, "rb", **buffers))
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
    system, path = _resolved(name)
    system.invalidate_cache()
    details = _call(name, lambda: system.info(path))
    if details.get("type") == "directory":
        raise InputError(f"{address(name)}: is a folder: name the files in it, with a * if need be")
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
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        block = _call(self._name, lambda: self._file.read(len(buffer)))
        if not block and self.size is not None and self.tell() < self.size:
            raise InputError(f"{address(self._name)}: ends after {self.tell()} of its {self.size} bytes")
        buffer[: len(block)] = block
        return len(block)


def _resolved(name: str) -> tuple[Any, str]:
    """The filesystem of an address, and the path in it. Raises InputError."""
    scheme = name.partition(":")[0]
    extra = "hdfs" if scheme == "hdfs" else "remote"
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        if scheme == "hdfs":  # otherwise fsspec uses pyarrow's client: to it, every file of a lost server is not found
            import hdfs_native  # noqa: F401
    except ImportError:
        raise InputError(f"{address(name)}: install dify-exporter[{extra}] to read such addresses") from None
    for package in _TALKATIVE:
        logging.getLogger(package).setLevel(logging.CRITICAL + 1)
    with _errors(name):
        system, path = url_to_fs(name, **(_HDFS if scheme == "hdfs" else {}))
    if scheme == "webhdfs":
        system.session.hooks["response"] = [_refuse_errors]
    return system, path


def _refuse_errors(response: Any, **_: object) -> None:
    """Raise the error of a DataNode. fsspec would return the error page as the content of the file."""
    if response.status_code < 400 or "op=OPEN" not in response.url:
        return
    if "AccessControlException" in response.text:
        raise PermissionError
    # 403 is also the status of a block that is lost.
    raise RuntimeError(f"the server answers with the status {response.status_code}")


def _call(name: str, request: Callable[[], _T]) -> _T:
    """Call a filesystem. Raises InputError if it fails, or does not respond in time."""
    response: Future[_T] = Future()

    def run() -> None:
        try:
            response.set_result(request())
        except BaseException as error:
            response.set_exception(error)

    Thread(target=run, daemon=True).start()  # Ctrl-C cannot interrupt a call into Rust, only the wait for a thread
    with _errors(name):
        try:
            return response.result(_TIMEOUT)
        except TimeoutError:
            if response.done():
                raise
            raise InputError(f"{address(name)}: the server has not answered for {_TIMEOUT:.0f} s") from None


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
    if isinstance(error, PermissionError) or status in (401, 403) or "AccessControlException" in str(error):
        return _REFUSED
    if status == 404 or (isinstance(error, FileNotFoundError) and not isinstance(cause, OSError) and status is None):
        return "does not exist"
    if isinstance(error, FileNotFoundError):
        return _UNREACHABLE if status is None else f"the server answers with the status {status}"
    if type(error).__name__ == "ConnectionError":  # of the package requests, which fsspec uses for WebHDFS
        return _UNREACHABLE
    if "NameNode hosts" in str(error) or "fs.defaultFS" in str(error):
        return "names no NameNode: write hdfs://HOST:PORT/…, or set HADOOP_CONF_DIR to the folder of hdfs-site.xml"
    if name.startswith("hdfs:") and isinstance(error, OSError):
        return f"the NameNode cannot be reached: {_reason(error, name)}"
    if isinstance(error, ImportError):
        return f"a package is missing: {error}"
    is_plain = isinstance(error, ValueError) or type(error) in (OSError, RuntimeError)
    kind = "" if is_plain else f"{type(error).__name__}: "
    return f"cannot be read: {kind}{_reason(error, name)}"


def _status(error: object) -> int | None:
    """The status of an HTTP answer that became an error. The clients keep it in different places."""
    places = (error, getattr(error, "response", None))
    found = (getattr(place, name, None) for place in places for name in ("status", "status_code", "code"))
    return next((each for each in found if isinstance(each, int)), None)


def _reason(error: Exception, name: str) -> str:
    """The text of an error, without the address and without its secrets."""
    text = str(error)
    if isinstance(error, RuntimeError) and (found := _HDFS_ERROR.match(text)):
        text = found[1]
    text = " ".join(text.split())
    for part in sorted(re.split(r"[/?&#=:@]+", name), key=len, reverse=True):
        if len(part) > 3 and part not in address(name):
            text = text.replace(part, "…")
    return address(text) or "no reason is given"
