"""A source of one path with a parser that collects lines, a ledger that checks positions, and a manual clock."""

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from exporter.tail.position import Position, Searched, Window
from exporter.tail.source import Source
from exporter.tail.source_config import SourceConfig, SourceOptions
from parsers.batch import Batch, Failure
from parsers.parser import Parser


class Lines(Parser):
    """Each line is a record that names it."""

    def parse(self, window: bytes, final: bool = False) -> Batch:
        consumed = len(window) if final else window.rfind(b"\n") + 1
        lines = window[:consumed].split(b"\n")[: None if final and not window.endswith(b"\n") else -1]
        records = tuple(Failure(line.decode("latin-1")) for line in lines)
        return Batch(consumed=consumed, lines=len(lines), records=records)


_LINES = Lines()


class MemoryLedger:
    """A small ledger. `lines` are the parsed lines, `unparsed` the reasons of the others, `paths` the searched paths.

    `searched_until` is the time until which they were searched.
    """

    def __init__(self) -> None:
        self.searched_until, self.has_searched = 0, False
        self.kept: dict[str, Position] = {}
        self.paths: tuple[str, ...] = ()
        self.lines: list[str] = []
        self.unparsed: list[str] = []
        self.rotations = self.truncations = self.lost_bytes = 0

    def positions(self, source: str) -> dict[str, Position]:
        """Encode and decode the positions as the state file does."""
        return msgspec.msgpack.decode(msgspec.msgpack.encode(self.kept), type=dict[str, Position])

    def searched(self, source: str) -> Searched:
        return Searched(self.paths, self.searched_until)

    def set_searched_paths(self, source: str, paths: Iterable[str]) -> None:
        self.paths, self.searched_until, self.has_searched = (
            tuple(paths),
            max(self.searched_until, time.time_ns()),
            True,
        )

    def post(self, window: Window, batch: Batch) -> Position:
        posted = self.kept.get(window.file)
        if posted is not None and posted.offset != window.position.offset:
            raise ValueError(f"{window.file} begins at {window.position.offset}, posted up to {posted.offset}")
        self.lines += [record.kind for record in batch.records if isinstance(record, Failure)]
        self.unparsed += Counter(batch.unparsed).elements()
        self.rotations += window.events.rotations
        self.truncations += window.events.truncations
        self.lost_bytes += window.events.lost_bytes
        position = self.kept[window.file] = window.after(batch.consumed, batch.skip)
        if self.has_searched:
            self.searched_until = max(self.searched_until, time.time_ns(), position.modified)
        for key in window.events.forget:
            self.kept.pop(key, None)
        return position


class Reader:
    """`poll` reads all there is; `wait` turns the clock; `restart` keeps only the ledger."""

    def __init__(
        self,
        *paths: Path | str,
        start_at: str = "beginning",
        line_length: int = 1 << 20,
        parser: Parser = _LINES,
        **keys: object,
    ) -> None:
        self.ledger, self.now = MemoryLedger(), 1000.0
        self._settings = SourceConfig("s", tuple(map(str, paths)), parser, **keys)  # type: ignore[arg-type]
        self._start_at, self._line_length = start_at, line_length
        self.source: Source
        self.start()

    def start(self) -> None:
        self.ledger.has_searched = False
        options = SourceOptions(self._settings, line_length=self._line_length)
        self.source = Source(options, self.ledger, lambda: self.now, self._start_at)

    def configure(self, *paths: Path | str) -> None:
        """Start again with other paths."""
        self._settings = msgspec.structs.replace(self._settings, paths=tuple(map(str, paths)))
        self.start()

    def stop(self) -> None:
        self.source.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def poll(self) -> list[str]:
        """The lines that this poll has brought."""
        before, turns = len(self.ledger.lines), 0
        self.now += 1
        while self.source.turn():
            turns += 1
            assert turns < 100_000, "the source never comes to rest"
        return self.ledger.lines[before:]

    def wait(self, seconds: float) -> list[str]:
        """So many seconds of polls."""
        return [line for _ in range(round(seconds)) for line in self.poll()]


def append(path: Path, data: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def age(path: Path, seconds: int = 86400) -> None:
    """Makes a file look old."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
