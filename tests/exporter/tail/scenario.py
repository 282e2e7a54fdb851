"""Scenarios of the tail as tables of steps: what happens to a log, and what the tail must have read by then.

A name that is empty is the log itself; a name that begins with a dot or a hyphen comes behind the log's name. The steps
between `leave` and `back` happen twice: while the exporter runs, and while it is down.
"""

import gzip
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.exporter.reader import Reader, append

#: 2001-09-09, the second 0 of `date`.
_EPOCH = 10**9


class Scene:
    """One log, its folder, and the reader that `start` makes. `denied` are the names that may not be opened.

    `open_files` are closed at the end.
    """

    def __init__(self, folder: Path, log: str, goes_down: bool) -> None:
        self.folder, self.log, self.goes_down = folder, log, goes_down
        self.denied: set[str] = set()
        self.open_files = ExitStack()
        self.reader: Reader

    def path(self, name: str) -> Path:
        return self.folder / (self.log + name if name[:1] in (".", "-", "") else name)

    def open(self, path: Any, *arguments: Any, opened: Callable[..., int] = os.open, **keywords: Any) -> int:
        if path in map(str, map(self.path, self.denied)):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **keywords)


Step = Callable[[Scene], object]
Steps = Iterable[Step]


def play(folder: Path, steps: Steps, log: str = "access.log", goes_down: bool = False) -> Scene:
    """Run the steps in an empty folder. A failure says at which step."""
    scene = Scene(folder, log, goes_down)
    with mock.patch.object(os, "open", scene.open), scene.open_files:
        for number, step in enumerate(steps, 1):
            try:
                step(scene)
            except Exception as error:
                error.add_note(f"at step {number}: {step.__qualname__.partition('.')[0]}")
                raise
    scene.reader.stop()
    return scene


def table(scenarios: Mapping[str, Steps]) -> pytest.MarkDecorator:
    """Parametrize a test with `steps` and `goes_down`."""
    found = []
    for name, steps in scenarios.items():
        listed = list(steps)
        found.append(pytest.param(listed, False, id=name))
        if leave in listed:
            found.append(pytest.param(listed, True, id=f"{name}, while down"))
    return pytest.mark.parametrize(("steps", "goes_down"), found)


# What happens to files.


def write(text: str | bytes, name: str = "") -> Step:
    """Append."""
    return lambda scene: append(scene.path(name), text)


def overwrite(text: str | bytes, name: str = "") -> Step:
    """Truncate and write again, the same inode."""
    return lambda scene: scene.path(name).write_bytes(text.encode() if isinstance(text, str) else text)


def create(name: str = "") -> Step:
    return lambda scene: scene.path(name).touch()


def folder(name: str) -> Step:
    return lambda scene: scene.path(name).mkdir()


def rename(to: str, name: str = "") -> Step:
    return lambda scene: scene.path(name).rename(scene.path(to))


def remove(name: str = "") -> Step:
    return lambda scene: scene.path(name).unlink()


def truncate(size: int = 0, name: str = "") -> Step:
    return lambda scene: os.truncate(scene.path(name), size)


def copy(to: str, name: str = "", size: int | None = None) -> Step:
    """Copy the content, or its first bytes, into a new file."""
    return lambda scene: scene.path(to).write_bytes(scene.path(name).read_bytes()[:size])


def copytruncate(to: str) -> Step:
    def step(scene: Scene) -> None:
        copy(to)(scene)
        truncate()(scene)

    return step


def pack(name: str = "", to: str = "") -> Step:
    """Replace a file by its `.gz`, which has the file's times, as gzip does.

    The inode is not reused, so that a rotation cannot look like a truncation.
    """

    def step(scene: Scene) -> None:
        path, packed = scene.path(name), scene.path(to or f"{name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        shutil.copystat(path, packed)
        scene.open_files.enter_context(path.open("rb"))
        path.unlink()

    return step


def link(target: str, name: str = "") -> Step:
    """Make the name a symbolic link, in place of the link that was there."""

    def step(scene: Scene) -> None:
        scene.path(name).unlink(missing_ok=True)
        scene.path(name).symlink_to(target)

    return step


def move_to_another_disk(*names: str) -> Step:
    """Give each file another inode, with the same content and times."""

    def step(scene: Scene) -> None:
        for path in map(scene.path, names):
            os.replace(shutil.copy2(path, path.with_name("moved")), path)

    return step


def date(seconds: float, name: str = "") -> Step:
    """Set the mtime, in seconds since 2001-09-09."""
    return lambda scene: os.utime(scene.path(name), ns=(0, _EPOCH * 10**9 + round(seconds * 10**9)))


def shift_date(seconds: float, name: str = "") -> Step:
    """Move the mtime."""

    def step(scene: Scene) -> None:
        modified = scene.path(name).stat().st_mtime_ns + round(seconds * 10**9)
        os.utime(scene.path(name), ns=(modified, modified))

    return step


def deny(name: str) -> Step:
    """Nobody may open the file until `allow`."""
    return lambda scene: scene.denied.add(name)


def allow(name: str) -> Step:
    return lambda scene: scene.denied.remove(name)


# What happens to the exporter.


def start(*paths: str, **options: Any) -> Step:
    """Start for the first time, without a poll."""

    def step(scene: Scene) -> None:
        scene.reader = Reader(*map(scene.path, paths or ("",)), **options)

    return step


def stop(scene: Scene) -> None:
    scene.reader.stop()


def begin(scene: Scene) -> None:
    """Start again, with the positions of the ledger."""
    scene.reader.start()


def restart(scene: Scene) -> None:
    scene.reader.restart()


def leave(scene: Scene) -> None:
    """Stop the exporter in the variant in which it is down."""
    if scene.goes_down:
        scene.reader.stop()


def back(scene: Scene) -> None:
    if scene.goes_down:
        scene.reader.start()


def poll(seconds: float = 1) -> Step:
    """Poll once per second, whatever is read."""
    return lambda scene: scene.reader.wait(seconds)


def turn(scene: Scene) -> None:
    """Read at most one window."""
    scene.reader.source.turn()


def starve(seconds: float) -> Step:
    """Let time pass without a poll."""

    def step(scene: Scene) -> None:
        scene.reader.now += seconds

    return step


# What must hold.


def reads(*lines: str, within: float = 1) -> Step:
    """The polls of the next seconds read these lines, in this order."""
    return lambda scene: _equal(scene.reader.wait(within), list(lines))


def reads_in_any_order(*lines: str, within: float = 1) -> Step:
    return lambda scene: _equal(sorted(scene.reader.wait(within)), sorted(lines))


def has_read(*lines: str) -> Step:
    """These lines were counted since the first start, each of them once, in any order."""
    return lambda scene: _equal(sorted(scene.reader.ledger.lines), sorted(lines))


def counts(**expected: object) -> Step:
    """The ledger has these numbers: rotations, truncations, lost_bytes, or unparsed (reasons)."""
    return lambda scene: _equal({name: getattr(scene.reader.ledger, name) for name in expected}, expected)


def first_pass_is_done(scene: Scene) -> None:
    _equal(scene.reader.source.first_pass.is_done(), True)


def is_open(name: str, expected: bool) -> Step:
    """The exporter has an open descriptor of this file, or not."""

    def step(scene: Scene) -> None:
        found = set()
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:
                continue
        _equal(str(scene.path(name)) in found, expected)

    return step


def _equal(found: object, expected: object) -> None:
    assert found == expected, f"found {str(found)[:500]}, expected {str(expected)[:500]}"
