"""`[tls_server_config]` of the web configuration, and the check that its files make a TLS context."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from exporter.config.toml_table import FileName

Text = Annotated[str, Meta(min_length=1)]
Version = Literal["TLS12", "TLS13"]

if TYPE_CHECKING:
    import ssl


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


def tls_context(tls: TlsConfig) -> "ssl.SSLContext":
    """Build the server's TLS context. Raises ValueError if a file is missing, is no PEM, or the key does not fit."""
    import ssl  # slow, and few commands need it

    versions = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = versions[tls.min_version]
    context.maximum_version = versions[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    for name in ("cert_file", "key_file", "client_ca_file"):
        _readable(name, getattr(tls, name))
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


def _readable(name: str, file: str) -> None:
    try:
        if file:
            with open(file, "rb"):
                pass
    except OSError as error:
        raise ValueError(f"{name}: {file} cannot be read: {error.strerror}") from None
