"""The `[receive]` table of the configuration."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, structs

from exporter.config.address import parse_address
from exporter.config.log_file import LogBackups, LogMaxBytes, LogName, unusable_log
from exporter.config.toml_table import FileName


class ReceiveConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[receive]`. Without a `token_file` every client may send."""

    listen: str = "127.0.0.1:4318"
    log: LogName = "logs/receive.log"
    log_max_bytes: LogMaxBytes = 0
    log_backups: LogBackups = 5
    token_file: FileName = ""
    native: bool = False

    def __post_init__(self) -> None:
        parse_address(self.listen)

    def with_absolute_paths(self, folder: Path) -> "ReceiveConfig":
        """A copy with absolute file names. Relative names are relative to `folder`, where the configuration is."""
        token_file = str(folder / self.token_file) if self.token_file else ""
        return structs.replace(self, log=str(folder / self.log), token_file=token_file)

    def problems(self) -> Iterator[str]:
        """One sentence for each setting that cannot work on this machine."""
        yield from unusable_log(self.log)
        if self.token_file:
            try:
                read_token(self.token_file)
            except OSError as error:
                yield f"token_file: {self.token_file} cannot be read: {error.strerror}"
            except ValueError as problem:
                yield f"token_file: {self.token_file} {problem}"


def read_token(token_file: str) -> bytes:
    """The token in the file, without the white space around it. Raises OSError, or ValueError if there is none.

    A token is printable ASCII without blanks, because it travels in a header field. It is never shown in a message.
    """
    token = Path(token_file).read_bytes().strip()
    if not token:
        raise ValueError("is empty, expected a token")
    if not token.isascii() or not token.decode().isprintable() or b" " in token:
        raise ValueError("holds no token, expected printable ASCII characters without blanks on one line")
    return token
