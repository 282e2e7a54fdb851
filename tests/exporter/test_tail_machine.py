"""Random lives of a log against a model: no line twice, none torn, none missing whose bytes nobody destroyed."""

import gzip
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.exporter.reader import Reader, age, append

_KEPT = 4


class Lives(RuleBasedStateMachine):
    """`written` are the whole lines, `half` what has been begun, `destroyed` the lines nobody can be sure of."""

    @initialize(ancient=st.booleans())
    def begin(self, ancient: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "log"
        self.written: list[str] = []
        self.destroyed: set[str] = set()
        self.unread: set[str] = set()
        self.half = ""
        self.up = True
        if ancient:
            append(self.folder / "log.1", "ANCIENT\n" * 50)
            age(self.folder / "log.1")
        self.log.touch()
        self.reader = Reader(self.log)
        self.reader.poll()

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.settle()
            self.reader.stop()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        if not self.up:
            self.start()
        if not self.log.exists():
            # What came and went while the path was missing for long is looked for when it names a file again.
            self.log.touch()
        self.reader.wait(15)
        self.seen()
        counted, written = Counter(self.reader.books.lines), Counter(self.written)
        assert set(written - counted) <= self.destroyed
        assert counted <= written

    @invariant()
    def nothing_twice_and_nothing_torn(self) -> None:
        if hasattr(self, "reader"):
            assert Counter(self.reader.books.lines) <= Counter(self.written)

    def seen(self) -> None:
        self.unread -= set(self.reader.books.lines)

    def put(self, text: str, end: str) -> None:
        append(self.log, text + end)
        self.half += text
        if end:
            self.written.append(self.half)
            self.unread.add(self.half)
            self.half = ""

    def break_half(self) -> None:
        """A half line stays behind in the old file."""
        self.half = ""

    @precondition(lambda self: self.log.exists())
    @rule(count=st.integers(1, 5), size=st.integers(0, 200), whole=st.booleans(), binary=st.booleans())
    def write(self, count: int, size: int, whole: bool, binary: bool) -> None:
        for number in range(count):
            name = f"<{len(self.written)}.{len(self.half)}>" + ("\r\t" if binary else "") + "x" * size
            self.put(name, "\n" if whole or number < count - 1 else "")

    @precondition(lambda self: self.up)
    @rule()
    def poll(self) -> None:
        self.reader.poll()
        self.seen()

    @precondition(lambda self: self.up)
    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.reader.wait(seconds)
        self.seen()

    @precondition(lambda self: self.up)
    @rule()
    def stop(self) -> None:
        self.reader.stop()
        self.up = False

    @precondition(lambda self: not self.up)
    @rule()
    def start(self) -> None:
        self.reader.start()
        self.up = True
        self.reader.poll()
        self.seen()

    def shift(self) -> None:
        """As logrotate does; what falls off the end was readable only where a descriptor was held."""
        for number in range(_KEPT, 0, -1):
            for ending in ("", ".gz"):
                old = self.folder / f"log.{number}{ending}"
                if old.exists() and number == _KEPT:
                    self.destroyed |= self.unread
                    old.unlink()
                elif old.exists():
                    old.rename(self.folder / f"log.{number + 1}{ending}")

    @precondition(lambda self: self.log.exists())
    @rule(create=st.booleans(), pack=st.booleans(), late=st.booleans())
    def rename(self, create: bool, pack: bool, late: bool) -> None:
        self.shift()
        old = self.log.rename(self.folder / "log.1")
        if late and self.up:
            self.reader.poll()
            self.seen()
            line = f"late {len(self.written)}"
            append(old, line + "\n")
            self.written.append(self.half + line)
            self.unread.add(self.half + line)
        self.break_half()
        if create:
            self.log.touch()
        if pack:
            packed = old.with_name("log.1.gz")
            packed.write_bytes(gzip.compress(old.read_bytes()))
            shutil.copystat(old, packed)
            old.unlink()

    @precondition(lambda self: not self.log.exists())
    @rule()
    def create(self) -> None:
        self.log.touch()

    @precondition(lambda self: self.log.exists())
    @rule(copy=st.booleans(), grown=st.booleans())
    def truncate(self, copy: bool, grown: bool) -> None:
        """Where a copy is made and some of the file was read before, all of it can be found again."""
        if copy:
            self.shift()
            shutil.copyfile(self.log, self.folder / "log.1")
        size = self.log.stat().st_size
        posted = {p.inode: p.offset for p in self.reader.books.kept.values() if not p.done}
        if not copy or not posted.get(self.log.stat().st_ino) or not self.up:
            self.destroyed |= self.unread
        os.truncate(self.log, 0)
        self.break_half()
        if grown:
            self.put(f"<again {len(self.written)}>" + "y" * (size + 300), "\n")
        if self.up:
            self.reader.poll()
            self.seen()

    @precondition(lambda self: self.log.exists())
    @rule(again=st.booleans())
    def delete(self, again: bool) -> None:
        if self.up:
            self.reader.poll()
            self.seen()
        self.destroyed |= self.unread
        self.log.unlink()
        self.break_half()
        if again:
            self.log.touch()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
