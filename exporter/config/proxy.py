"""The `[proxy]` table of the configuration."""

import re
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, field

from exporter.config.toml_table import FileName, Seconds
from exporter.config.wsgi import LogName, WsgiConfig
from parsers.batch import UNKNOWN

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: The user and password in a URL, which no message may show.
_AUTHORITY_USER = re.compile(r"^([^/]*//)?.*@", re.DOTALL)


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
        for digest, app_id in self.apps.items():
            _check_app(digest, app_id)

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


def _check_app(digest: str, app_id: str) -> None:
    from parsers.dify.labels import app_id_of  # imported late: it loads the whole Dify parser

    if not _DIGEST.fullmatch(digest):
        raise ValueError("apps: expected the SHA-256 of an API key as 64 digits 0-9a-f; never the key itself")
    if app_id_of(app_id) == UNKNOWN:
        raise ValueError(f"apps: {digest}: expected an app id, which is a UUID; never an API key")
