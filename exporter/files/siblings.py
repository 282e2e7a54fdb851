"""The names that rotated generations of a log get, in the log's own folder.

Pygtail knows most of these patterns, but gives only the first that exists: a stale `.1` hides a dated file
(B26), and of three rotations two are lost (B17). So the names are listed here, all of them; that every name
Pygtail would choose is among them is a test.
"""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from msgspec import Struct

from exporter.files.opened import Identity, identity

_SUFFIXES = (
    r"\.\d{1,5}",  # logrotate, savelog(8), Python's RotatingFileHandler, Docker
    r"-\d{8}(?:\d\d)?",  # logrotate dateext, daily and hourly
    r"-\d{8}-\d{10}",  # logrotate dateformat -%Y%m%d-%s
    r"\.\d{8}-\d{6}",  # kubelet
    r"\.\d{4}-\d\d-\d\d(?:_\d\d(?:-\d\d){0,2})?",  # Python's TimedRotatingFileHandler
)

_ENDINGS = [re.compile(f"(.+?){suffix}(?:\\.gz)?", re.DOTALL) for suffix in _SUFFIXES]


class Sibling(Struct, frozen=True):
    """A rotated file as a folder lists it; `modified` is its mtime in nanoseconds."""

    path: str
    identity: Identity
    modified: int
    number: int
    size: int

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts the oldest first; of numbered names with equal times the highest number is the oldest."""
        return self.modified, -self.number, self.path


def _named(name: str) -> re.Pattern[str]:
    """Matches the rotated names of one log."""
    return re.compile(f"{re.escape(name)}(?:{'|'.join(_SUFFIXES)})(?:\\.gz)?")


def originals(path: str, log_patterns: tuple[str, ...] = ()) -> list[str]:
    """The logs of which `path` would be a rotated generation, by its name."""
    folder, name = os.path.split(path)
    found = [os.path.join(folder, match[1]) for ending in _ENDINGS if (match := ending.fullmatch(name))]
    for pattern in log_patterns:
        below, named = os.path.split(pattern)
        before, _, behind = map(_translated, named.partition("%s"))
        match = re.fullmatch(f"{before}(.+){behind}(?:\\.gz)?", name)
        if match and (not below or folder.endswith(os.sep + below)):
            found.append(os.path.join(folder.removesuffix(below), match[1]))
    return found


def _translated(pattern: str) -> str:
    """A glob as a piece of a larger expression: without the anchor that fnmatch puts at its end."""
    return re.sub(r"\\[Zz]$", "", fnmatch.translate(pattern))


def rotated(path: str, log_patterns: tuple[str, ...] = ()) -> list[Sibling]:
    """The rotated files of a log that exist, the oldest first. Raises OSError.

    A `.gz` beside its uncompressed twin is being written: it is left out (B25). A log pattern may lead to another
    folder (B29, logrotate's olddir).
    """
    folder, name = os.path.split(path)
    named = _named(name)
    names = {os.path.join(folder, entry) for entry in os.listdir(folder or ".") if named.fullmatch(entry)}
    for pattern in log_patterns:
        wanted = os.path.join(glob.escape(folder), pattern.replace("%s", glob.escape(name)))
        names |= {*glob.iglob(wanted), *glob.iglob(wanted + ".gz")}
    written = {name for name in names if name.endswith(".gz") and name[:-3] in names}
    return sorted(siblings(names - written - {path}), key=lambda s: s.age)


def folders_in(folder: str) -> Iterator[str]:
    """Raises nothing."""
    with suppress(OSError), os.scandir(folder or ".") as entries:
        yield from (entry.path for entry in entries if entry.is_dir())


def siblings(paths: Iterable[str]) -> Iterator[Sibling]:
    """Those that are files."""
    for path in paths:
        try:
            seen = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(seen.st_mode):
            number = re.search(r"\.(\d{1,5})(?:\.gz)?$", path)
            yield Sibling(path, identity(seen), seen.st_mtime_ns, int(number[1]) if number else 0, seen.st_size)
