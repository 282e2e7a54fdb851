"""The ledger's state on disk: a snapshot with a journal of changes behind it, in one file.

A file is a header line followed by records. The first record is the snapshot: it holds the whole state. Each
further record is one entry of the journal: it holds what one commit changed. Every record carries a checksum that
also covers the checksum of the record before it, so a record cannot be lost or swapped without notice.

* When the journal is larger than the snapshot, a new file is written under the other one of two names (temporary
  file, fsync, rename, fsync of the folder). The file before it stays whole until then.
* After a failed write a new file is written too, because the content of the old file on the disk is unknown.
* A record that was cut by a power loss or kill -9 was never shown to Prometheus. The file counts up to the record
  before it.
* `load` uses the newest file whose snapshot is good. A lock file keeps a second exporter out.
"""

import errno
import fcntl
import os
import struct
import zlib
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from exporter.ledger.history import NEWEST_DAYS
from exporter.ledger.state import VERSION, State
from exporter.process.special_files import refuse_special

_MAGIC = b"dify-exporter state"
_NAMES = ("state.0", "state.1")
_TEMPORARY, _LOCK = "state.tmp", "lock"
_RECORD = struct.Struct(">I16s")  # length of the payload, and its checksum

#: Errors of the rights or of the machine: the file may be good. File descriptors or memory were missing.
_NO_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

#: A journal of this many bytes never causes a new file, however small the snapshot is.
_SMALL_JOURNAL = 16 * 1024


class LockedError(Exception):
    """Another exporter uses this state folder. `holder` is the process id that it wrote into the lock file."""

    def __init__(self, folder: Path, pid: str) -> None:
        super().__init__(f"the state in {folder} is in use by the exporter with process id {pid or 'unknown'}")


class Checkpoint:
    """The state files of one folder. Not thread-safe: only one thread commits.

    `folder` is their folder, `state` the sum of all changes that `save` was called with.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError if the folder or a file in it cannot be used, LockedError if another exporter uses it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it is not writable", str(folder))
        for name in (*_NAMES, _TEMPORARY, _LOCK):
            refuse_special(folder / name)
        self.state = State()
        self.folder = folder
        self._number = 0
        self._checksum = b""
        self._size: int | None = None  # bytes of the newest file; None if its content is unknown
        self._snapshot_size = 0  # bytes up to the end of its first record
        self._lock = _locked(folder)

    def load(self) -> tuple[State | None, list[str]]:
        """Read the newest good state, and one sentence for each damage. The state is None at the first start.

        A file that cannot be used is set aside. Raises OSError for a file that belongs to another user, and if file
        descriptors or memory are missing.
        """
        self._number, state, warnings = _newest(self.folder, sets_aside=True)
        if state is None and warnings:
            warnings.append(
                f"no state in {self.folder} can be used: counters and the newest {NEWEST_DAYS} days of the history "
                "begin at 0, and sources begin where start_at says"
            )
        return state, warnings

    def save(self, change: State) -> None:
        """Write a change durably. Raises OSError; the next call then writes the whole state."""
        self.state.update(change)
        if self._size is None or self._size - self._snapshot_size > max(self._snapshot_size, _SMALL_JOURNAL):
            self._write_snapshot()
        elif not change.empty:
            self._append_to_journal(change)

    def close(self) -> None:
        os.close(self._lock)

    def _write_snapshot(self) -> None:
        number = self._number + 1
        path = self._path(number)
        temporary = self.folder / _TEMPORARY
        head = b"%s %d %d\n" % (_MAGIC, VERSION, number)
        self._size = None
        record, checksum = _record(self.state, head)
        try:
            _write(temporary, head + record, os.O_CREAT | os.O_TRUNC)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(self.folder)
        self._number, self._checksum = number, checksum
        self._size = self._snapshot_size = len(head) + len(record)

    def _append_to_journal(self, change: State) -> None:
        size, self._size = self._size, None
        record, checksum = _record(change, self._checksum)
        _write(self._path(self._number), record, os.O_APPEND, size)
        assert size is not None
        self._checksum, self._size = checksum, size + len(record)

    def _path(self, number: int) -> Path:
        return self.folder / _NAMES[number % 2]


def read_state(folder: Path) -> tuple[State | None, list[str]]:
    """The newest good state of a folder, also while an exporter uses it. If there is none, None and a sentence for each
    file that cannot be used.

    Raises OSError for a file that cannot be read.
    """
    _, state, problems = _newest(folder, sets_aside=False)
    return state, [] if state else problems


def _newest(folder: Path, sets_aside: bool) -> tuple[int, State | None, list[str]]:
    """The number and the state of the newest good file, and a sentence for each damage.

    Raises OSError if a file that cannot be read is not set aside.
    """
    newest: tuple[int, State | None] = 0, None
    sentences = []
    for path in (folder / name for name in _NAMES):
        try:
            refuse_special(path)
            number, state, damage = _decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and (not sets_aside or error.errno in _NO_DAMAGE):
                raise
            sentences.append(f"{path} cannot be used: {error}")
            if sets_aside:
                path.replace(path.with_name(path.name + ".damaged"))
                sentences[-1] += f"; it was set aside as {path.name}.damaged"
            continue
        newest = max(newest, (number, state), key=lambda each: each[0])
        sentences += [f"{path} is damaged {damage}: it is used up to there"] if damage else []
    return *newest, sentences


def _locked(folder: Path) -> int:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise LockedError(folder, pid) from None
    except OSError as error:  # a file system without locks: waiting would never help
        os.close(lock)
        raise OSError(error.errno, error.strerror, str(folder / _LOCK)) from None
    with suppress(OSError):  # on a full disk only the process id is missing
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _write(path: Path, data: bytes, flags: int, size: int | None = None) -> None:
    """Write and fsync. Raises OSError if `size` is given and the file does not have this size before the write."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags, 0o600)
    try:
        if size not in (None, os.fstat(file).st_size):
            raise OSError(errno.ESTALE, "another process changed it", str(path))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _record(state: State, before: bytes) -> tuple[bytes, bytes]:
    """A record and its checksum. `before` is the checksum of the record before, or the file's header line."""
    try:
        text = msgspec.msgpack.encode(state)
    except OverflowError:
        text = msgspec.msgpack.encode(state.without_large_integers)
    payload = zlib.compress(text, level=1)
    checksum = _checksum(payload, before)
    return _RECORD.pack(len(payload), checksum) + payload, checksum


def _checksum(payload: bytes, before: bytes) -> bytes:
    return blake2b(before + payload, digest_size=16).digest()


def _decode(data: bytes) -> tuple[int, State, str]:
    """The file's number, its state, and where it is damaged. Raises ValueError if nothing of it can be used."""
    line, _, _ = data.partition(b"\n")
    words = line.rsplit(b" ", 2)
    if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit() or not words[2].isdigit():
        raise ValueError("it does not begin like a state file")
    if int(words[1]) != VERSION:
        raise ValueError(f"its version is {int(words[1])}, this exporter reads {VERSION}")
    state, checksum, at = State(), line + b"\n", len(line) + 1
    first = at
    while at + _RECORD.size <= len(data):
        length, found = _RECORD.unpack_from(data, at)
        end = at + _RECORD.size + length
        payload = data[at + _RECORD.size : end]
        if _checksum(payload, checksum) != found:
            break
        state.update(msgspec.msgpack.decode(zlib.decompress(payload), type=State))
        checksum, at = found, end
    if at == first:
        raise ValueError("its beginning is damaged")
    rest = data[at:]
    torn = len(rest) < _RECORD.size or at + _RECORD.size + _RECORD.unpack_from(rest)[0] >= len(data) or not any(rest)
    return int(words[2]), state, "" if torn else f"behind byte {at} of {len(data)}"
