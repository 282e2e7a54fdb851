"""The keys of the facts that are in the log: a fact that comes again is not written again."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parsers.tracing import keys_of

#: About 20 MB of memory.
LIMIT = 100_000
_BLOCK_BYTES = 1 << 20
#: A limit of the work at the start: with lines of 700 bytes this holds far more keys than LIMIT.
_MAX_READ_BYTES = 256 << 20


class KnownKeys:
    """The newest keys, oldest first. A key may be an alias of another one: both are keys of one fact."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._keys: dict[str, None] = {}
        self._aliases: dict[str, str] = {}
        self._limit = limit

    def __contains__(self, key: str) -> bool:
        return self._aliases.get(key, key) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str) -> None:
        """Remember a key. The oldest key is forgotten if there are too many."""
        self._keys[key] = None
        if key in self._aliases:
            self._keys[self._aliases[key]] = None
        _forget_oldest(self._keys, self._limit)

    def add_alias(self, key: str, other: str) -> None:
        """From now on `key` means `other`. If one of the two is known, so is the other."""
        self._aliases[key] = other
        _forget_oldest(self._aliases, self._limit)
        if key in self._keys or other in self._keys:
            self.add(key)

    def find_again(self, log: str) -> None:
        """Read the keys in the log, and in its rotated files from the newest on, until there are enough keys.

        Files that cannot be read are left out.
        """
        newest_first: dict[str, None] = {}
        for line in _lines_from_the_end(log):
            for key in keys_of(line):
                newest_first.setdefault(key)
            if len(newest_first) >= self._limit:
                break
        for key in reversed(newest_first):
            self.add(key)


def _forget_oldest(keys: dict[str, Any], limit: int) -> None:
    while len(keys) > limit:
        del keys[next(iter(keys))]


def _lines_from_the_end(log: str) -> Iterator[bytes]:
    left = _MAX_READ_BYTES
    for path in (log, *_rotated(Path(os.path.realpath(log)))):
        try:
            for block in _blocks_from_the_end(path):
                yield from reversed(block.splitlines())
                left -= len(block)
                if left <= 0:
                    return
        except OSError:
            continue


def _rotated(log: Path) -> list[str]:
    """The rotated files of a log, newest first: receive.log.1, receive.log-20261130, receive-20261130.log.

    Packed files are left out: they cannot be read from the end.
    """
    name = re.compile(re.escape(log.stem) + r"[.-].*\d.*(?<!\.gz)")
    with os.scandir(log.parent) as entries:
        others = [each for each in entries if name.fullmatch(each.name) and each.name != log.name and each.is_file()]
    return [each.path for each in sorted(others, key=lambda each: each.stat().st_mtime_ns, reverse=True)]


def _blocks_from_the_end(path: str) -> Iterator[bytes]:
    """Blocks of whole lines, the last one first. A line that is longer than a block is not ours: there it ends."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0 and len(rest) <= _BLOCK_BYTES:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin) + rest
            cut = (block.find(b"\n") + 1 or len(block)) if begin else 0
            rest, end = block[:cut], begin
            yield block[cut:]
