"""The `[receive]` table of the configuration."""

from collections.abc import Iterator
from pathlib import Path

from exporter.config.toml_table import FileName
from exporter.config.wsgi import LogName, WsgiConfig


class ReceiveConfig(WsgiConfig, frozen=True):
    """The keys of `[receive]`. Without a `token_file` every client may send."""

    files = ("log", "token_file")

    listen: str = "127.0.0.1:4318"
    log: LogName = "logs/receive.log"
    token_file: FileName = ""
    native: bool = False

    def problems(self) -> Iterator[str]:
        yield from super().problems()
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
