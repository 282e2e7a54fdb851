"""The TLS context of the listener. It is reloaded when the certificate files change."""

import ssl
from functools import partial
from typing import Any

from exporter.config.web import TlsConfig, tls_context
from exporter.process.reloaded import Reloaded


class Certificates:
    """Provides the TLS context for each new connection. A change of the certificate, key or CA file causes a reload."""

    def __init__(self, tls: TlsConfig) -> None:
        """Raises ValueError as `tls_context` does."""
        self._allowed = tls.client_allowed_sans
        files = tls.cert_file, tls.key_file, tls.client_ca_file
        self._context = Reloaded("certificate", files, partial(tls_context, tls))

    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context.current()

    def accepts(self, certificate: dict[str, Any] | None) -> bool:
        """Whether one of the names in a verified client certificate is allowed."""
        names = [name for _, name in (certificate or {}).get("subjectAltName", ())]
        return not self._allowed or not set(names).isdisjoint(self._allowed)
