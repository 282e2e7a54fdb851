"""The file that `web_config` names: the keys of Prometheus' exporter-toolkit, written as TOML.

Source: prometheus/exporter-toolkit, docs/web-configuration.md. The keys below are supported. Certificate, key and
client CA must be files, OpenSSL chooses cipher suites and curves, and there is no HTTP/2.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from exporter.config.toml_table import FileName, Problems, convert, known_tables, toml_type
from exporter.messages import unknown

if TYPE_CHECKING:
    import ssl

Text = Annotated[str, Meta(min_length=1)]
Version = Literal["TLS12", "TLS13"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
#: Cost 4 to 18. A higher cost would make a request wait for minutes.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-8])\$[./A-Za-z0-9]{53}")


class TlsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[tls_server_config]`. File names are absolute after loading."""

    cert_file: Annotated[FileName, Meta(min_length=1)]
    key_file: Annotated[FileName, Meta(min_length=1)]
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: FileName = ""
    client_allowed_sans: tuple[Text, ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"

    def __post_init__(self) -> None:
        if (self.client_auth_type != "NoClientCert") != bool(self.client_ca_file):
            raise ValueError("client_ca_file and a client_auth_type other than NoClientCert need each other")
        if self.client_allowed_sans and self.client_auth_type != "RequireAndVerifyClientCert":
            raise ValueError('client_allowed_sans needs client_auth_type = "RequireAndVerifyClientCert"')
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version")


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[rate_limit]`: one request per `interval` ("100ms") after `burst` at once. "0" means no limit."""

    interval: str = "0"
    burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    def __post_init__(self) -> None:
        if self.seconds > 0 and self.burst < 1:
            raise ValueError("burst must be at least 1, otherwise no request is ever answered")

    @property
    def seconds(self) -> float:
        if self.interval == "0":
            return 0.0
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)(ns|us|ms|s|m|h)", self.interval)
        if found is None:
            raise ValueError(f'interval must be a duration such as "100ms" or "1s", found "{self.interval}"')
        return float(found[1]) * _UNITS[found[2]]


class HeadersConfig(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.replace("_", "-")):
    """The keys of `[http_server_config.headers]`. They replace our own headers; "" removes a header."""

    Content_Security_Policy: str | None = None
    X_Frame_Options: Literal["", "deny", "sameorigin"] | None = None
    X_Content_Type_Options: Literal["", "nosniff"] | None = None
    X_XSS_Protection: str | None = None
    Strict_Transport_Security: str | None = None

    def __post_init__(self) -> None:
        for name, value in self.overrides().items():
            if not value.isascii() or (value and not value.isprintable()):
                raise ValueError(f"{name} must be printable ASCII on one line")

    def overrides(self) -> dict[str, str]:
        """The headers that the file replaces or removes, by name."""
        return {name: value for name, value in to_builtins(self).items() if value is not None}


class WebConfig(Struct, frozen=True):
    """The whole file. The defaults mean no TLS and no passwords. `users` maps a name to a bcrypt hash."""

    tls: TlsConfig | None = None
    users: Mapping[str, str] = {}
    headers: HeadersConfig = HeadersConfig()
    rate_limit: RateLimit = RateLimit()

    @property
    def requires_authentication(self) -> bool:
        """Whether a client must authenticate, by password or by certificate."""
        requires_certificate = self.tls is not None and self.tls.client_auth_type == "RequireAndVerifyClientCert"
        return bool(self.users) or requires_certificate


_TABLES = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")


def tls_context(tls: TlsConfig) -> "ssl.SSLContext":
    """Build the server's TLS context. Raises ValueError if a file is missing, is no PEM, or the key does not fit."""
    import ssl  # slow, and few commands need it

    versions = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = versions[tls.min_version]
    context.maximum_version = versions[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    for name in ("cert_file", "key_file", "client_ca_file"):
        try:
            if file := getattr(tls, name):
                open(file, "rb").close()
        except OSError as error:
            raise ValueError(f"{name}: {file} cannot be read: {error.strerror}") from None
    try:
        # Without a password argument OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or "the key is protected by a password, or is no PEM"
        raise ValueError(f"{tls.cert_file} and {tls.key_file} are not a certificate and its key: {why}") from None
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as error:
            raise ValueError(f"{tls.client_ca_file} holds no certificate: {error.reason}") from None
        is_required = tls.client_auth_type == "RequireAndVerifyClientCert"
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    return context


def convert_web_config(document: Mapping[str, Any], folder: Path, problems: Problems) -> WebConfig:
    """Convert the tables of the file, which is in `folder`. Their problems are added to `problems`."""
    tables = known_tables(document, problems, _TABLES)
    return WebConfig(
        _tls(tables.get("tls_server_config"), folder, problems),
        _users(tables.get("basic_auth_users", {}), problems),
        _headers(tables.get("http_server_config", {}), problems),
        convert(tables.get("rate_limit", {}), RateLimit, "[rate_limit]", problems) or RateLimit(),
    )


def _tls(table: dict[str, Any] | None, folder: Path, problems: Problems) -> TlsConfig | None:
    if table is None:
        return None
    files = {
        key: str(folder / value) if isinstance(value, str) and value else value
        for key, value in table.items()
        if key.endswith("_file")
    }
    return convert({**table, **files}, TlsConfig, "[tls_server_config]", problems)


def _users(table: dict[str, Any], problems: Problems) -> dict[str, str]:
    """Check the users. A hash is never shown in a message, not even a wrong one."""
    for name, value in table.items():
        if not name or ":" in name:
            problems.add("[basic_auth_users]", f'"{name}": a user\'s name may not be empty or hold a colon')
        elif not isinstance(value, str) or not _BCRYPT.fullmatch(value):
            problems.add(
                "[basic_auth_users]",
                f'"{name}": expected a bcrypt hash of cost 4 to 18 ("$2b$10$…"), as htpasswd -nBC 10 {name} prints it',
            )
    return table


def _headers(table: dict[str, Any], problems: Problems) -> HeadersConfig:
    for key in table.keys() - {"headers"}:
        problems.add("[http_server_config]", unknown("key", key, ["headers"]))
    headers = table.get("headers", {})
    if not isinstance(headers, dict):
        problems.add("[http_server_config]", f"headers: expected a table, found {toml_type(headers)}")
        return HeadersConfig()
    return convert(headers, HeadersConfig, "[http_server_config.headers]", problems) or HeadersConfig()
