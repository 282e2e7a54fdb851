"""The keys that the tables `[proxy]` and `[receive]` share: an address, and a log with its rotation."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Self

from msgspec import Meta, Struct, structs

from exporter.config.address import parse_address
from exporter.config.toml_table import FileName

LogName = Annotated[FileName, Meta(min_length=1)]


class WsgiConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The shared keys.

    A log of `log_max_bytes` or more is renamed to .1, and .1 to .2, and so on up to `log_backups`. With a
    `log_max_bytes` of 0 the log is never renamed, so that logrotate can rotate it.
    """

    #: The keys that name files.
    files: ClassVar[tuple[str, ...]] = ("log",)

    listen: str = ""
    log: LogName = ""
    log_max_bytes: Annotated[int, Meta(ge=0)] = 0
    log_backups: Annotated[int, Meta(ge=1, le=1000)] = 5

    def __post_init__(self) -> None:
        parse_address(self.listen)

    def with_absolute_paths(self, folder: Path) -> Self:
        """A copy with absolute file names. Relative names are relative to `folder`, where the configuration is."""
        named = {key: name for key in self.files if (name := getattr(self, key))}
        return structs.replace(self, **{key: str(folder / name) for key, name in named.items()})

    def problems(self) -> Iterator[str]:
        """One sentence for each setting that cannot work on this machine."""
        log = Path(self.log)
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
