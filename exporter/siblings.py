"""The names that rotated generations of a log get, in the log's own folder.

Pygtail knows most of these patterns, but gives only the first that exists: a stale `.1` hides a dated file
(B26), and of three rotations two are lost (B17). So the names are listed here, all of them; that every name
Pygtail would choose is among them is a test.
"""

import fnmatch
import os
import re
import stat
from functools import cache

from msgspec import Struct

from exporter.opened import Identity, identity

_SUFFIXES = (
    r"\.\d{1,5}",  # logrotate, savelog(8), Python's RotatingFileHandler, Docker
    r"-\d{8}(?:\d\d)?",  # logrotate dateext, daily and hourly
    r"-\d{8}-\d{10}",  # logrotate dateformat -%Y%m%d-%s
    r"\.\d{8}-\d{6}",  # kubelet
    r"\.\d{4}-\d\d-\d\d(?:_\d\d(?:-\d\d){0,2})?",  # Python's TimedRotatingFileHandler
)


class Sibling(Struct, frozen=True):
    """A rotated file as a folder lists it; `modified` is its mtime in nanoseconds."""

    path: str
    identity: Identity
    modified: int
    number: int

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts the oldest first; of numbered names with equal times the highest number is the oldest."""
        return self.modified, -self.number, self.path


@cache
def _named(name: str, log_patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the rotated names of one log."""
    parts = [f"{re.escape(name)}(?:{'|'.join(_SUFFIXES)})(?:\\.gz)?"]
    for pattern in log_patterns:
        for whole in (pattern, pattern + ".gz"):
            before, _, behind = whole.partition("%s")
            parts.append(f"{_translated(before)}{re.escape(name)}{_translated(behind)}")
    return re.compile("|".join(parts))


def _translated(pattern: str) -> str:
    """A glob as a piece of a larger expression: without the anchor that fnmatch puts at its end."""
    return re.sub(r"\\[Zz]$", "", fnmatch.translate(pattern))


def originals(path: str, log_patterns: tuple[str, ...] = ()) -> list[str]:
    """The logs of which `path` would be a rotated generation, by its name."""
    folder, name = os.path.split(path)
    found = [name[: match.start()] for suffix in _SUFFIXES if (match := re.search(f"{suffix}(?:\\.gz)?$", name))]
    for pattern in log_patterns:
        before, _, behind = pattern.partition("%s")
        match = re.fullmatch(f"{_translated(before)}(.+){_translated(behind)}(?:\\.gz)?", name)
        found += [match[1]] if match else []
    return [os.path.join(folder, original) for original in found if original]


def rotated(path: str, log_patterns: tuple[str, ...] = ()) -> list[Sibling]:
    """The rotated files of a log that exist, the oldest first. Raises OSError.

    A `.gz` beside its uncompressed twin is being written: it is left out (B25).
    """
    folder, name = os.path.split(path)
    pattern = _named(name, log_patterns)
    names = {entry for entry in os.listdir(folder or ".") if pattern.fullmatch(entry) and entry != name}
    found = []
    for entry in names:
        if entry.endswith(".gz") and entry[:-3] in names:
            continue
        sibling = os.path.join(folder, entry)
        try:
            seen = os.stat(sibling)
        except OSError:
            continue
        if stat.S_ISREG(seen.st_mode):
            number = re.search(r"\.(\d{1,5})(?:\.gz)?$", entry)
            found.append(Sibling(sibling, identity(seen), seen.st_mtime_ns, int(number[1]) if number else 0))
    return sorted(found, key=lambda s: s.age)
