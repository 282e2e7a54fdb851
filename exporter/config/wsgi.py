"""The tables `[proxy]` and `[receive]` of the configuration, and the keys that they share."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field, structs

from exporter.config.address import parse_address
from exporter.config.toml_table import FileName, Seconds
from parsers.batch import UNKNOWN

LogName = Annotated[FileName, Meta(min_length=1)]

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: The user and password in a URL, which no message may show.
_AUTHORITY_USER = re.compile(r"^([^/]*//)?.*@", re.DOTALL)


class WsgiConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """An address, and a log with its rotation.

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


class ProxyConfig(WsgiConfig, frozen=True):
    """The keys of `[proxy]`. Times are in seconds. `apps` maps the SHA-256 (hexadecimal) of an API key to an app id."""

    files = ("log", "upstream_ca")

    listen: str = "127.0.0.1:8877"
    log: LogName = "logs/proxy.log"
    upstream: str = "http://127.0.0.1:5001"
    upstream_ca: FileName = ""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds = 3600.0
    apps: dict[str, str] = field(default_factory=dict)
    trust_app_header: bool = True
    openai: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_upstream(self.upstream)
        if self.apps:
            from parsers.dify.labels import app_id_of  # imported late: it loads the whole Dify parser

            for digest, app_id in self.apps.items():
                if not _DIGEST.fullmatch(digest):
                    raise ValueError(
                        "apps: expected the SHA-256 of an API key as 64 digits 0-9a-f; never the key itself"
                    )
                if app_id_of(app_id) == UNKNOWN:
                    raise ValueError(f"apps: {digest}: expected an app id, which is a UUID; never an API key")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.upstream_ca:
            import ssl  # imported late: in the proxy's process gevent must patch it first

            try:
                ssl.create_default_context(cafile=self.upstream_ca)
            except OSError as error:
                yield f"upstream_ca: no CA bundle at {self.upstream_ca}: {error.strerror or error}"


def _check_upstream(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_port_valid = parts.port != 0
    except ValueError:
        is_port_valid = False
    found = _AUTHORITY_USER.sub(r"\1…@", url)
    if not is_port_valid or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f'upstream must be http://host:port or https://host, found "{found}"')
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f'upstream must have no path because request paths are passed on unchanged, found "{found}"')


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
