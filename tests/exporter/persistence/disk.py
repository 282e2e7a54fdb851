"""A disk that fails on demand, and that forgets at a power loss what was not synced."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

NEVER = 1 << 30


class Crash(BaseException):
    """The process ends here."""


class Disk:
    """Stands in for `os` in exporter.persistence.checkpoint; everything else of `os` is real.

    Each write, fsync and rename is a step. `fail_at` steps from now one raises ENOSPC, `crash_at` steps from now
    one ends the process; a write first gets half of its bytes out.
    """

    def __init__(self) -> None:
        self.fail_at = self.crash_at = NEVER
        self.steps: list[str] = []
        self._synced: dict[int, int] = {}
        self._renamed: list[tuple[Path, bytes | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, file: int, data: memoryview) -> int:
        if self._step("write"):
            os.write(file, data[: len(data) // 2])
            self._end()
        return os.write(file, data)

    def fsync(self, file: int) -> None:
        status = os.fstat(file)
        is_folder = stat.S_ISDIR(status.st_mode)
        if self._step("fsync folder" if is_folder else "fsync"):
            self._end()
        if is_folder:
            self._renamed.clear()
        else:
            self._synced[status.st_ino] = status.st_size

    def replace(self, old: Path, new: Path) -> None:
        if self._step("rename"):
            self._end()
        self._renamed.append((new, new.read_bytes() if new.exists() else None))
        os.replace(old, new)

    def lose_power(self, folder: Path, undo_renames: bool, kept: float, zeros: bool) -> None:
        """A rename that was not synced may be undone; of bytes not synced a part is there, or zeros are."""
        for path, content in reversed(self._renamed if undo_renames else []):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
                self._synced[path.stat().st_ino] = len(content)
        for path in folder.glob("state.?"):
            data = path.read_bytes()
            synced = self._synced.get(path.stat().st_ino, 0)
            tail = data[synced:][: round(kept * (len(data) - synced))]
            path.write_bytes(data[:synced] + (bytes(len(tail)) if zeros else tail))
            self._synced[path.stat().st_ino] = path.stat().st_size
        self._renamed.clear()

    def _step(self, name: str) -> bool:
        """Whether it is this step's turn to fail."""
        self.steps.append(name)
        self.fail_at -= 1
        self.crash_at -= 1
        return -1 in (self.fail_at, self.crash_at)

    def _end(self) -> None:
        crash, self.fail_at, self.crash_at = self.crash_at == -1, NEVER, NEVER
        if crash:
            raise Crash
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
