"""The keys of a log that a program of ours writes: its file and how it is rotated."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from exporter.config.toml_table import FileName

LogName = Annotated[FileName, Meta(min_length=1)]
#: 0 leaves the rotation to logrotate.
LogMaxBytes = Annotated[int, Meta(ge=0)]
LogBackups = Annotated[int, Meta(ge=1, le=1000)]


class Rotation(Struct, frozen=True):
    """From `max_bytes` on a log is renamed to .1, and .1 to .2, up to `.backups`. With 0 it never is."""

    max_bytes: int = 0
    backups: int = 5


NO_ROTATION = Rotation()


def unusable_log(name: str) -> Iterator[str]:
    """One sentence if the log cannot be written on this machine."""
    log = Path(name)
    try:
        log.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        yield f"log: cannot be written at {log}: {error.strerror}"
        return
    existing = next(path for path in (log, *log.parents) if path.exists())
    if log.is_dir():
        yield f"log: {log} is a folder, expected a file"
    elif not os.access(existing, os.W_OK):
        yield f"log: cannot be written at {log}: {existing} is not writable for this user"
