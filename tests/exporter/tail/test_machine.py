"""Random lives of a log against a model: no line twice, none torn, none missing whose bytes nobody destroyed.

The model knows each file's lines, by inode. A line that is nowhere any more, is in no open descriptor of the
exporter and was not counted is destroyed: it may be missing, and only it.
"""

import copy
import gzip
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.tail.window_reader import GRACE
from tests.exporter.reader import MemoryLedger, Reader, age, append

_KEPT = 4


class File:
    """What one inode holds: its whole lines, and a half one. `grown` is when it last grew."""

    def __init__(self, lines: list[str] | None = None, half: str = "") -> None:
        self.lines, self.half = lines or [], half
        self.preexisting = self.unpromised = False
        self.grown = 0.0


class Lives(RuleBasedStateMachine):
    """`files` are the names in the folder; `held` what only the exporter's descriptors keep alive."""

    @initialize(preexisting=st.booleans(), linked=st.booleans())
    def begin(self, preexisting: bool, linked: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "log"
        self.files: dict[str, File] = {}
        self.held: list[File] = []
        self.written: list[str] = []
        self.missing: set[str] = set()
        self.denied: set[int] = set()
        self.truncations = self.arrivals = self.destroyed = self.number = 0
        self.linked, self.target = linked, "log"
        self.up = False
        opened = os.open
        self.patch = mock.patch.object(os, "open", lambda path, *rest, **keys: self.guard(opened, path, *rest, **keys))
        self.patch.start()
        if preexisting:
            append(self.folder / "log.1", "ANCIENT\n" * 50)
            age(self.folder / "log.1")
            self.files["log.1"] = File(["ANCIENT"] * 50)
            self.files["log.1"].preexisting = True
        self.make()
        self.reader = Reader(self.log)
        self.up = True
        self.poll()
        self.stored: MemoryLedger = copy.deepcopy(self.reader.ledger)

    def guard(self, opened, path, *rest, **keys):
        if self.denied and os.path.exists(path) and os.stat(path).st_ino in self.denied:
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **keys)

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            try:
                self.settle()
            finally:
                self.reader.stop()
                self.patch.stop()
                shutil.rmtree(self.folder)

    def settle(self) -> None:
        self.denied.clear()
        if not self.up:
            self.start()
        if not self.log.exists():
            # What came and went while the path was missing for long is looked for when it names a file again.
            self.make()
        self.reader.wait(20)
        counted, written = Counter(self.reader.ledger.lines), Counter(self.written)
        absent = set(written - counted)
        assert absent <= self.missing, absent - self.missing
        assert counted <= written
        # After a crash it is unknown whether an unknown file was renamed or copied.
        assert self.reader.ledger.truncations + self.reader.ledger.rotations <= self.truncations + self.arrivals
        assert self.reader.ledger.lost_bytes <= self.destroyed

    @invariant()
    def nothing_twice_and_nothing_torn(self) -> None:
        if hasattr(self, "reader"):
            assert Counter(self.reader.ledger.lines) <= Counter(self.written)

    @property
    def current(self) -> File:
        return self.files[self.target]

    @property
    def real(self) -> Path:
        return self.folder / self.target

    def make(self) -> None:
        """A new file under the path: itself, or a symbolic link to a new target."""
        self.number += 1
        self.arrivals += 1
        self.target = f"target{self.number}" if self.linked else "log"
        self.real.touch()
        self.denied.discard(self.real.stat().st_ino)
        self.files[self.target] = File()
        if self.linked:
            self.log.unlink(missing_ok=True)
            self.log.symlink_to(self.target)

    def review(self) -> None:
        """Lines that are nowhere any more are gone, unless they are counted."""
        alive = [file for file in (*self.files.values(), *self.held) if not file.preexisting]
        there = {line for file in alive for line in file.lines if not file.unpromised}
        gone = set(self.written) - there - set(self.reader.ledger.lines) - self.missing
        self.destroyed += sum(len(line) + 1 for line in gone)
        self.missing |= gone

    def lose(self, file: File) -> None:
        """The last name of a file is gone, and a new file may get its inode."""
        self.denied &= {each.lstat().st_ino for each in self.folder.iterdir()}
        known = {p.inode for p in self.reader.ledger.kept.values() if not p.done}
        self.destroyed += len(file.half)
        if self.up and getattr(file, "inode", 0) in known and file.seen == self.lives:
            self.held.append(file)

    lives = 0

    def put(self, path: Path, file: File, text: str, end: str) -> None:
        append(path, text + end)
        file.grown = self.reader.now
        file.half += text
        if end:
            self.written.append(file.half)
            file.lines.append(file.half)
            file.half = ""

    @precondition(lambda self: self.log.exists())
    @rule(count=st.integers(1, 5), size=st.integers(0, 200), whole=st.booleans(), binary=st.booleans())
    def write(self, count: int, size: int, whole: bool, binary: bool) -> None:
        for number in range(count):
            self.number += 1
            name = f"<{self.number}>" + ("\r\t\0" if binary else "") + "x" * size
            self.put(self.real, self.current, name, "\n" if whole or number < count - 1 else "")

    @precondition(lambda self: self.up)
    @rule()
    def poll(self) -> None:
        self.wait(1)

    @precondition(lambda self: self.up)
    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.reader.wait(seconds)
        if self.log.exists() and self.real.stat().st_ino not in self.denied:
            self.current.inode, self.current.seen = self.real.stat().st_ino, self.lives

    @precondition(lambda self: self.up and self.log.exists())
    @rule(count=st.integers(1, 3))
    def race(self, count: int) -> None:
        """The writer writes between two looks of the same poll."""
        real, waiting = os.stat, list(range(count))

        def racing(path, **keys):
            found = real(path, **keys)
            if path == str(self.log) and waiting:
                waiting.pop()
                self.number += 1
                self.put(self.real, self.current, f"<race {self.number}>", "\n")
            return found

        with mock.patch.object(os, "stat", racing):
            self.poll()

    @precondition(lambda self: self.up)
    @rule()
    def checkpoint(self) -> None:
        self.stored = copy.deepcopy(self.reader.ledger)

    @precondition(lambda self: self.up)
    @rule()
    def stop(self) -> None:
        self.reader.stop()
        self.stored = copy.deepcopy(self.reader.ledger)
        self.down()

    @precondition(lambda self: self.up)
    @rule(damaged=st.booleans())
    def crash(self, damaged: bool) -> None:
        """What was stored last is all that is left; where that is damaged too, the source was never seen."""
        self.reader.stop()
        self.reader.ledger = copy.deepcopy(self.stored)
        if damaged:
            self.stored = self.reader.ledger = MemoryLedger()
        self.down()

    def down(self) -> None:
        self.up = False
        self.held.clear()
        self.lives += 1
        for name, file in self.files.items() if self.linked else ():
            file.unpromised |= name != self.target and not self.known(name)
        self.review()

    def known(self, name: str) -> bool:
        """Return whether the ledger knows a file of this name."""
        inode = (self.folder / name).stat().st_ino
        return any(p.inode == inode and p.target.endswith(f"/{name}") for p in self.reader.ledger.kept.values())

    @precondition(lambda self: not self.up)
    @rule()
    def start(self) -> None:
        if not (self.reader.ledger.kept or self.reader.ledger.paths):  # what has been rotated by now is never read
            there = self.current.lines if self.log.exists() else []
            for file in self.files.values():
                file.preexisting |= file.lines is not there
            self.written, self.missing = list(there), set()
        self.reader.start()
        self.up = True
        self.poll()
        if not self.stored.kept:  # the end of the first pass is committed
            self.stored = copy.deepcopy(self.reader.ledger)

    def shift(self) -> None:
        """As logrotate does."""
        for number in range(_KEPT, 0, -1):
            for ending in ("", ".gz"):
                old = self.folder / f"log.{number}{ending}"
                if not old.exists():
                    continue
                file = self.files.pop(old.name)
                if number == _KEPT:
                    old.unlink()
                    self.lose(file)
                else:
                    old.rename(self.folder / f"log.{number + 1}{ending}")
                    self.files[f"log.{number + 1}{ending}"] = file
        self.review()

    @precondition(lambda self: self.log.exists() and not self.linked)
    @rule(create=st.booleans(), pack=st.booleans())
    def rename(self, create: bool, pack: bool) -> None:
        self.shift()
        old = self.log.rename(self.folder / "log.1")
        file = self.files["log.1"] = self.files.pop("log")
        if create:
            self.make()
        if pack:
            packed = old.with_name("log.1.gz")
            packed.write_bytes(gzip.compress(old.read_bytes()))
            shutil.copystat(old, packed)
            old.unlink()
            self.lose(file)
            self.files.pop("log.1")
            self.files["log.1.gz"] = File(list(file.lines), file.half)
            self.files["log.1.gz"].preexisting = file.preexisting

    @precondition(lambda self: self.linked)
    @rule()
    def swap(self) -> None:
        """The link gets another target; after two swaps between two polls, the first target cannot be found."""
        old = self.files.get(self.target)
        if old:
            old.unpromised |= not self.known(self.target)
        self.make()
        self.review()

    @precondition(lambda self: self.up and "log.1" in self.files and not self.files["log.1"].preexisting)
    @rule(end=st.sampled_from(["", "\n"]))
    def late(self, end: str) -> None:
        """The writer still has the old file. Behind the grace nothing is promised."""
        old, path = self.files["log.1"], self.folder / "log.1"
        open_still = any(p.inode == path.stat().st_ino and not p.done for p in self.reader.ledger.kept.values())
        if open_still and self.reader.now - old.grown < GRACE - 1:
            self.number += 1
            self.put(path, old, f"<late {self.number}>", end)

    @precondition(lambda self: not self.log.exists())
    @rule()
    def create(self) -> None:
        self.make()

    @precondition(lambda self: self.log.exists())
    @rule(copied=st.booleans(), grown=st.sampled_from(["", "shorter", "same", "longer"]))
    def truncate(self, copied: bool, grown: str) -> None:
        old, size = self.current, self.real.stat().st_size
        if copied and not self.linked:
            self.shift()
            shutil.copyfile(self.log, self.folder / "log.1")
            self.files["log.1"] = File(list(old.lines), old.half)
            self.files["log.1"].preexisting = old.preexisting
        os.truncate(self.real, 0)
        self.truncations += 1
        self.destroyed += len(old.half)
        self.files[self.target] = File()
        self.review()
        self.number += 1
        name = f"<again {self.number}>"
        length = {"shorter": size // 2, "same": size, "longer": size + 300}.get(grown, 0)
        if length > len(name):
            self.put(self.real, self.current, name + "y" * (length - len(name) - 1), "\n")

    @precondition(lambda self: self.log.exists())
    @rule(again=st.booleans())
    def delete(self, again: bool) -> None:
        self.real.unlink()
        self.lose(self.files.pop(self.target))
        self.truncations += 1  # a new file may get the old one's inode
        self.review()
        if again:
            self.make()

    @precondition(lambda self: self.log.exists())
    @rule(allowed=st.booleans())
    def chmod(self, allowed: bool) -> None:
        self.denied.discard(self.real.stat().st_ino)
        if not allowed:
            self.denied.add(self.real.stat().st_ino)


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=int(os.environ.get("LIVES", settings.default.max_examples)),
    stateful_step_count=25,
    report_multiple_bugs=False,
)
