"""Several rotations between any two system calls of the tail: no line is lost whose file the tail could open.

The log is rotated as our proxy does it: `log.1` becomes `log.2`, and so on, `log` becomes `log.1`, and the next line
creates a new `log`. With more than `backups` files, the oldest one is overwritten. Each case says before which system
calls of the tail the rotations come, and before which one the process is stopped for a while. `EVERY=1` runs all cases.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.exporter.reader import Reader

#: All calls with which the tail looks at the folder or at a file in it.
_CALLS = ("stat", "lstat", "fstat", "scandir", "open", "pread", "readlink")
_EVERY = int(os.environ.get("EVERY", "11"))


class Log:
    """`lines` are all written lines, `destroyed` those that were overwritten while the tail had neither read nor opened
    their file. `rotations` and `pauses` (seconds) are given by the number of the call before which they happen.
    """

    def __init__(self, folder: Path, backups: int) -> None:
        self.path, self._backups = folder / "log", backups
        self.lines: list[str] = []
        self.destroyed: set[str] = set()
        self.calls = 0
        self.rotations: Mapping[int, int] = {}
        self.pauses: Mapping[int, float] = {}
        self._is_busy = False
        self.reader = Reader(self.path)

    def write(self) -> None:
        with self.path.open("a") as file:
            for _ in range(2):
                self.lines.append(f"line {len(self.lines)}")
                file.write(self.lines[-1] + "\n")

    def rotate(self) -> None:
        oldest = self._named(self._backups)
        if oldest.exists() and not _is_open(oldest):
            self.destroyed |= {*oldest.read_text().splitlines()} - {*self.reader.ledger.lines}
        for number in range(self._backups - 1, 0, -1):
            if self._named(number).exists():
                self._named(number).replace(self._named(number + 1))
        self.path.replace(self._named(1))
        self.write()

    def between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call of the tail, before which the rotations and the pause happen that are due."""

        def called(*arguments: Any, **keywords: Any) -> Any:
            if not self._is_busy:
                self._is_busy = True
                for _ in range(self.rotations.get(self.calls, 0)):
                    self.rotate()
                self.reader.now += self.pauses.get(self.calls, 0)
                self.calls += 1
                self._is_busy = False
            return call(*arguments, **keywords)

        return called

    def _named(self, number: int) -> Path:
        return self.path.with_name(f"log.{number}")


def _is_open(path: Path) -> bool:
    """Return whether the tail has this file open."""
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/self/fd/{descriptor}"), path.stat()):
                return True
    return False


def play(folder: Path, begun: bool, rotations: Mapping[int, int], pauses: Mapping[int, float], backups: int) -> Log:
    """Rotate before the calls of some polls, then let the tail read the rest. `begun`: it has read the log before."""
    log = Log(folder, backups)
    if begun:
        log.write()
    log.reader.wait(3)
    log.write()
    log.rotations, log.pauses = rotations, pauses
    with mock.patch.multiple(os, **{name: log.between(getattr(os, name)) for name in _CALLS}):
        log.reader.wait(3)
    log.reader.wait(12)
    log.reader.stop()
    return log


def check(log: Log) -> None:
    counted, written = Counter(log.reader.ledger.lines), Counter(log.lines)
    assert not counted - written
    assert {*(written - counted)} <= log.destroyed


@pytest.mark.parametrize("backups", [50, 2])
@pytest.mark.parametrize("apart", [0, 1, 2, 5])
@pytest.mark.parametrize("begun", [True, False])
def test_rotations_between_any_two_calls(tmp_path: Path, begun: bool, apart: int, backups: int) -> None:
    """The log is rotated, and again three times before call `at` and the calls behind it."""
    destroyed = 0
    for at in range(0, 78, _EVERY):
        rotations = Counter([0, *(at + apart * number for number in range(3))])
        folder = tmp_path / str(at)
        folder.mkdir()
        log = play(folder, begun, rotations, {}, backups)
        assert log.calls > at + 2 * apart
        check(log)
        destroyed += len(log.destroyed)
    assert not destroyed if backups == 50 else destroyed or apart


@pytest.mark.parametrize("begun", [True, False])
def test_a_process_that_was_stopped_still_finds_all_files(tmp_path: Path, begun: bool) -> None:
    """The search for rotated files ends only with a look that is made after its deadline."""
    for at in range(0, 40, _EVERY):
        for behind in range(0, 25, _EVERY):
            folder = tmp_path / f"{at}-{behind}"
            folder.mkdir()
            check(play(folder, begun, {at: 2}, {at + behind: 10}, 50))
