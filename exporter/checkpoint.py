"""The books on disk.

Two files are written in turn, each replaced atomically (temporary file, fsync, rename, fsync of the folder), so
the one before the newest is always there whole. Each begins with its number and a digest of what follows; the
newest that is undamaged counts. A locked file keeps a second exporter out.
"""

import fcntl
import os
from hashlib import blake2b
from pathlib import Path

import msgspec

from exporter.image import VERSION, Image

_MAGIC = b"dify-exporter state"
_NAMES = ("state.0", "state.1")


class LockedError(Exception):
    """Another exporter holds the state; `holder` is its process id as it wrote it."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"the state in {folder} is in use by the exporter with process id {holder or 'unknown'}")


class Checkpoint:
    """One folder. Not thread-safe: one thread commits."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder cannot be made or written, LockedError where it is in use."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._number = 0
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise LockedError(folder, holder) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def load(self) -> tuple[Image | None, list[str]]:
        """The newest undamaged image, None for the first start, and a sentence for each file set aside."""
        found: list[tuple[int, Image]] = []
        told = []
        for name in _NAMES:
            path = self._folder / name
            try:
                found.append(_decoded(path.read_bytes()))
            except FileNotFoundError:
                continue
            except ValueError as error:
                path.replace(path.with_suffix(path.suffix + ".damaged"))
                told.append(f"{path} is damaged ({error}); it was set aside as {path.name}.damaged")
        if not found:
            return None, told
        self._number, image = max(found, key=lambda each: each[0])
        return image, told

    def save(self, image: bytes) -> None:
        """Writes an image durably. Raises OSError, and then the former ones are as they were."""
        number = self._number + 1
        path = self._folder / _NAMES[number % 2]
        temporary = path.with_name(path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_encoded(number, image))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._number = number

    def close(self) -> None:
        os.close(self._lock)


def _encoded(number: int, image: bytes) -> bytes:
    head = b"%s %d %d " % (_MAGIC, VERSION, number)
    return head + blake2b(head + image, digest_size=16).hexdigest().encode() + b"\n" + image


def _decoded(data: bytes) -> tuple[int, Image]:
    """Raises ValueError that says what is wrong."""
    head, _, image = data.partition(b"\n")
    words = head.rsplit(b" ", 3)
    if len(words) != 4 or words[0] != _MAGIC:
        raise ValueError("it does not begin as a state does")
    if words[1] != b"%d" % VERSION:
        raise ValueError(f"its version is {words[1].decode('ascii', 'replace')}, this exporter reads {VERSION}")
    if blake2b(b" ".join(words[:3]) + b" " + image, digest_size=16).hexdigest().encode() != words[3]:
        raise ValueError("its digest does not fit its content")
    return int(words[2]), msgspec.msgpack.decode(image, type=Image)
