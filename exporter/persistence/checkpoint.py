"""The books on disk.

A file is a line that names it and then records, each sealed with a digest that chains it to the one before: the
first holds everything, each further one what a commit changed. When these outgrow the first, a new file is
begun under the other of two names (temporary file, fsync, rename, fsync of the folder), so the one before it is
always there whole. After a failure, too, a new file is begun: nobody knows what the disk holds of the old one.

A record that never came to its end (power loss, kill -9) was never shown: the file ends before it. Reading
takes the newest file whose first record is good. A locked file keeps a second exporter out.
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

from exporter.ledger.state import VERSION, State

_MAGIC = b"dify-exporter state"
_NAMES = ("state.0", "state.1")
_SEALED = struct.Struct(">I16s")  # length of the payload, and its seal

#: Bytes of changes that are always worth waiting for before a new file is begun.
_PATIENCE = 16 * 1024


class LockedError(Exception):
    """Another exporter holds the state; `holder` is its process id as it wrote it."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"the state in {folder} is in use by the exporter with process id {holder or 'unknown'}")


class Checkpoint:
    """One folder. Not thread-safe: one thread commits. `image` is all that was ever given to `save`."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder cannot be made or written, LockedError where it is in use."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it is not writable", str(folder))
        self.image = State()
        self._folder = folder
        self._number = 0
        self._seal = b""
        self._size: int | None = None  # of the newest file; None where it cannot be relied on
        self._whole = 0  # bytes of its first record
        self._lock = _locked(folder)

    def load(self) -> tuple[State | None, list[str]]:
        """The newest good image, None for the first start, and a sentence for each damage.

        Raises PermissionError for a file of somebody else's.
        """
        found: list[tuple[int, State]] = []
        told = []
        for name in _NAMES:
            path = self._folder / name
            try:
                number, image, damage = _decoded(path.read_bytes())
            except FileNotFoundError:
                continue
            except PermissionError:
                raise
            except (OSError, ValueError) as error:
                path.replace(path.with_name(path.name + ".damaged"))
                told.append(f"{path} cannot be used: {error}; it was set aside as {path.name}.damaged")
                continue
            found.append((number, image))
            told += [f"{path} is damaged {damage}: it counts up to there"] if damage else []
        if not found:
            lost = f"nothing in {self._folder} can be used: counters begin at 0, and sources where start_at says"
            return None, [*told, lost] if told else told
        self._number, image = max(found, key=lambda each: each[0])
        return image, told

    def save(self, change: State) -> None:
        """Stores what has changed durably. Raises OSError; the next call then stores everything."""
        self.image.update(change)
        if self._size is None or self._size - self._whole > max(self._whole, _PATIENCE):
            self._begin()
        elif not change.empty:
            self._append(change)

    def close(self) -> None:
        os.close(self._lock)

    def _begin(self) -> None:
        number = self._number + 1
        path = self._path(number)
        temporary = self._folder / "state.tmp"
        head = b"%s %d %d\n" % (_MAGIC, VERSION, number)
        self._size = None
        record, seal = _sealed(self.image, head)
        try:
            _write(temporary, head + record, os.O_CREAT | os.O_TRUNC)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(self._folder)
        self._number, self._seal = number, seal
        self._size = self._whole = len(head) + len(record)

    def _append(self, change: State) -> None:
        size, self._size = self._size, None
        record, seal = _sealed(change, self._seal)
        _write(self._path(self._number), record, os.O_APPEND, size)
        assert size is not None
        self._seal, self._size = seal, size + len(record)

    def _path(self, number: int) -> Path:
        return self._folder / _NAMES[number % 2]


def _locked(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise LockedError(folder, holder) from None
    except OSError as error:  # a file system that has no locks is not waited for
        os.close(lock)
        raise OSError(error.errno, error.strerror, str(folder / "lock")) from None
    with suppress(OSError):  # a full disk costs only the name of the holder
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _write(path: Path, data: bytes, flags: int, size: int | None = None) -> None:
    """Writes and syncs; where `size` is given the file must have it before."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        if size not in (None, os.fstat(file).st_size):
            raise OSError(errno.ESTALE, "it was changed by somebody else", str(path))
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


def _sealed(image: State, before: bytes) -> tuple[bytes, bytes]:
    """A record and its seal; `before` is the seal of the record before, or the file's first line."""
    try:
        text = msgspec.msgpack.encode(image)
    except OverflowError:
        text = msgspec.msgpack.encode(image.widened)
    payload = zlib.compress(text, level=1)
    seal = _seal(payload, before)
    return _SEALED.pack(len(payload), seal) + payload, seal


def _seal(payload: bytes, before: bytes) -> bytes:
    return blake2b(before + payload, digest_size=16).digest()


def _decoded(data: bytes) -> tuple[int, State, str]:
    """Number, content, and where it is damaged. Raises ValueError that says why nothing can be used."""
    line, _, _ = data.partition(b"\n")
    words = line.rsplit(b" ", 2)
    if len(words) != 3 or words[0] != _MAGIC or not words[1].isdigit() or not words[2].isdigit():
        raise ValueError("it does not begin as a state does")
    if int(words[1]) != VERSION:
        raise ValueError(f"its version is {int(words[1])}, this exporter reads {VERSION}")
    image, seal, at = State(), line + b"\n", len(line) + 1
    first = at
    while at + _SEALED.size <= len(data):
        length, found = _SEALED.unpack_from(data, at)
        end = at + _SEALED.size + length
        payload = data[at + _SEALED.size : end]
        if _seal(payload, seal) != found:
            break
        image.update(msgspec.msgpack.decode(zlib.decompress(payload), type=State))
        seal, at = found, end
    if at == first:
        raise ValueError("its beginning is damaged")
    rest = data[at:]
    torn = len(rest) < _SEALED.size or at + _SEALED.size + _SEALED.unpack_from(rest)[0] >= len(data) or not any(rest)
    return int(words[2]), image, "" if torn else f"behind byte {at} of {len(data)}"
