"""A writer and a rotator that run between any two system calls of the tail, as on a busy machine: every line once.

Nothing is destroyed here before it could be read: a rotation that copies is done before the next line is written, and
more files are kept than are rotated between two commits. So the count is exact, whatever the interleaving.
"""

import copy
import gzip
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.exporter.reader import Reader

_KEPT = 150
_TURNS = 120
_BEGUN = 1_790_000_000
_CALLS = ("stat", "fstat", "listdir", "scandir", "open", "pread")
_ROTATIONS = (["rename"], ["copy"], ["rename", "copy"], ["rename", "pack"], ["rename", "absent", "copy", "pack"])


class Writer:
    """What happens in the log's folder, one atomic step at a time; `now` is in seconds and dates all files."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.now, self.written, self.idle = 1000.0, 0, False
        self.log = folder / "log"
        self._rng = rng
        self._rotations = rng.choice(_ROTATIONS)
        self._every, self._rate = rng.choice([0.5, 1.0, 2.0, 7.0]), rng.choice([20, 60])
        self._tick = rng.choice([1_000_000, 4_000_000, 1_000_000_000])
        self._probability = rng.choice([0.0, 0.002, 0.02, 0.2])
        self._file = self.log.open("ab", buffering=0)
        self._rotated, self._due = self.now, 0.0
        self._busy = False
        self._steps = self._life()
        self._date(self.log)

    def go(self, seconds: float, steps: int) -> None:
        self.now += seconds
        self._due += seconds * self._rate
        self._busy = True
        for _ in range(steps):
            if not next(self._steps):
                break
        self._busy = False

    def between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call of the tail, before which the writer may get a turn."""

        def called(*arguments: Any, **keywords: Any) -> Any:
            if not self._busy and not self.idle and self._rng.random() < self._probability:
                self.go(self._rng.choice([0, 0, 0.0001, 0.001]), self._rng.choice([1, 2, 5, 30, 200]))
            return call(*arguments, **keywords)

        return called

    def pick_pace(self) -> None:
        """Whether the writer gets turns inside the next polls."""
        self.idle = self._rng.random() < 0.6

    def close(self) -> None:
        self._file.close()

    def _life(self) -> Iterator[bool]:
        """A step each; False where there is nothing to do now."""
        while True:
            if self.now - self._rotated > self._every:
                self._rotated = self.now
                yield from self._rotate(self._rng.choice(self._rotations))
            lines, self._due = int(self._due), self._due % 1
            text = b"".join(self._line() for _ in range(lines))
            half = self._rng.randrange(len(text) + 1) if text and self._rng.random() < 0.3 else 0
            for part in filter(None, (text[:half], text[half:])):
                self._write(self._file, part)
                yield True
            yield False

    def _line(self) -> bytes:
        self.written += 1
        return f"<{self.written}> ".encode() + b"x" * self._rng.randrange(20, 160) + b"\n"

    def _write(self, file: Any, data: bytes) -> None:
        file.write(data)
        self._date(file.fileno())

    def _date(self, path: Any) -> None:
        now = int((_BEGUN + self.now) * 1e9)
        os.utime(path, ns=(now - now % self._tick,) * 2)

    def _rotate(self, how: str) -> Iterator[bool]:
        for number in range(_KEPT, 0, -1):
            for ending in ("", ".gz"):
                old = self.log.with_name(f"log.{number}{ending}")
                if old.exists():
                    old.replace(self.log.with_name(f"log.{number + 1}{ending}"))
                    yield True
        rotated = self.log.with_name("log.1")
        if how == "copy":
            yield from self._copy(rotated)
            return
        self.log.rename(rotated)
        yield True
        self._write(self._file, b"".join(self._line() for _ in range(self._rng.randrange(20))))
        yield True
        if how == "absent":
            yield from [True] * self._rng.choice([1, 3, 50])
        self._file.close()
        self._file = self.log.open("ab", buffering=0)
        self._date(self.log)
        yield True
        if how == "pack":
            yield from self._pack(rotated)

    def _copy(self, rotated: Path) -> Iterator[bool]:
        data, part = self.log.read_bytes(), self._rng.choice([100, 1000, 1 << 20])
        with rotated.open("wb", buffering=0) as file:
            for begin in range(0, len(data), part):
                self._write(file, data[begin:][:part])
                yield True
        if self._rng.random() < 0.8:
            shutil.copystat(self.log, rotated)
            yield True
        os.truncate(self.log, 0)
        self._date(self.log)
        yield True

    def _pack(self, rotated: Path) -> Iterator[bool]:
        packed, data = rotated.with_name("log.1.gz"), gzip.compress(rotated.read_bytes())
        half = self._rng.randrange(len(data))
        for part in (data[:half], data[half:]):
            with packed.open("ab") as file:
                file.write(part)
            yield True
        shutil.copystat(rotated, packed)
        yield True
        rotated.unlink()
        yield True


class Count:
    """The lines that the tail has counted, and what was stored of it last; `reader` is the tail with its ledger."""

    def __init__(self, log: Path) -> None:
        self.reader = Reader(log)
        self._lines: set[str] = set()
        self.read(50)
        self.store()

    def read(self, turns: int) -> None:
        for _ in range(turns):
            if not self.reader.source.turn():
                break
        for line in self.reader.ledger.lines:
            number = line[: line.index(">") + 1]
            assert number not in self._lines, f"{number} is counted twice"
            self._lines.add(number)
        self.reader.ledger.lines.clear()

    def store(self) -> None:
        self._stored = copy.deepcopy(self.reader.ledger), set(self._lines)

    def crash(self) -> None:
        ledger, lines = self._stored
        self.reader.stop()
        self.reader.ledger, self._lines = copy.deepcopy(ledger), set(lines)
        self.reader.start()

    def missing(self, written: int) -> list[int]:
        return [number for number in range(1, written + 1) if f"<{number}>" not in self._lines]


#: The fast half tries the first ones.
_SEEDS = [
    pytest.param(seed, marks=pytest.mark.system if seed >= 5 else ())
    for seed in range(int(os.environ.get("SEEDS", "12")))
]


@pytest.mark.parametrize("seed", _SEEDS)
def test_every_line_once_whatever_comes_between(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder), rng)
        calls = {name: writer.between(getattr(os, name)) for name in _CALLS}
        count = Count(writer.log)
        crashes = rng.choice([0, 0.01, 0.05])
        with mock.patch.multiple(os, **calls):
            for _ in range(_TURNS):
                writer.go(rng.choice([0.02, 0.1, 0.3, 1.0, 1.0, 3.0]), rng.choice([1, 5, 100, 1000, 1000]))
                count.reader.now = writer.now
                writer.pick_pace()
                count.read(rng.choice([1, 3, 50]))
                if rng.random() < 0.3:
                    count.store()
                if rng.random() < crashes:
                    count.crash()
        writer.go(0.0, 10_000)
        for _ in range(30):
            count.reader.now += 1
            count.read(1000)
        assert count.missing(writer.written) == []
        assert count.reader.ledger.lost_bytes == 0
        count.reader.stop()
        writer.close()
