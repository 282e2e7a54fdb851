"""Where the line of a failure is now, and the shell command that prints it.

A log is renamed, copied and truncated while the page shows its failures. So a file is named only if the line is still
there: its first bytes have the fingerprint that was taken when the line was read.
"""

import os
import shlex
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from msgspec import Struct

from exporter.process.special_files import refuse_special
from exporter.status.failures import FailureEntry

#: The rotated files of a log that are tried. They are in the folder of the log, and their names begin with its name.
_MAX_CANDIDATES = 30
_MAX_NAMES = 10_000


class FailureRow(Struct, frozen=True):
    """A failure, and the command that prints its line. `command` is "" if no file is found that has the line."""

    failure: FailureEntry
    command: str

    @property
    def anchor(self) -> str:
        """An id for links to the row. It stays the same while the row is shown."""
        failure = self.failure
        place = repr((failure.source, failure.route, failure.file, failure.identity, failure.offset))
        return "failure-" + blake2b(place.encode(), digest_size=8).hexdigest()


def failure_row(failure: FailureEntry) -> FailureRow:
    path = next((path for path in (failure.file, *_rotated(failure.file)) if _has_line(path, failure)), "")
    return FailureRow(failure, command(path, failure.offset, failure.is_packed) if path else "")


def command(path: str, offset: int, is_packed: bool) -> str:
    """The shell command that prints the line that begins at `offset`, in uncompressed bytes. The path is absolute."""
    first = offset + 1  # tail counts from 1
    name = quoted(path)
    return f"zcat {name} | tail -c +{first} | head -n 1" if is_packed else f"tail -c +{first} {name} | head -n 1"


def quoted(path: str) -> str:
    r"""A path as one word of a shell.

    A name with control characters, or with bytes that are no UTF-8, is written as `$'…'` with octal escapes, which
    bash, zsh, ksh and BusyBox read. So a copied command is one line, and it is the command that was seen.
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(map(_escaped, path)) + "'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    return character if character.isprintable() else "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


def _rotated(path: str) -> list[str]:
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in islice(entries, _MAX_NAMES) if each.name.startswith(name)]
    except OSError:
        return []
    return [os.path.join(folder, each) for each in sorted(names)[:_MAX_CANDIDATES] if each != name]


def _has_line(path: str, failure: FailureEntry) -> bool:
    """Whether a file has the line. A packed file is not unpacked for this: it is known by its inode."""
    try:
        refuse_special(Path(path))
        with open(path, "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if failure.is_packed:
                return (found.st_dev, found.st_ino) == failure.identity
            return failure.line.matches(os.pread(file.fileno(), failure.line.length, failure.offset))
    except OSError:
        return False
