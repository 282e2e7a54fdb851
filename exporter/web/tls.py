"""The TLS context of the listener. It is reloaded when the certificate files change."""

import logging
import ssl
from typing import Any

from exporter.config.tls import TlsConfig, tls_context
from exporter.process.file_version import file_version

_log = logging.getLogger(__name__)


class Certificates:
    """Provides the TLS context for each new connection.

    A change of the certificate, key or CA file causes a reload. If the new files are invalid, the old context stays in
    use: an issuer writes certificate and key one after the other.
    """

    def __init__(self, tls: TlsConfig) -> None:
        """Raises ValueError as `tls_context` does."""
        self._tls = tls
        self._versions = self._file_versions()
        self._context = tls_context(tls)

    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        versions = self._file_versions()
        if versions != self._versions:
            self._versions = versions
            try:
                self._context = tls_context(self._tls)
            except ValueError as error:
                _log.error("the changed certificate is not used: %s", error)
            else:
                _log.info("the changed certificate is in use")
        return self._context

    def accepts(self, certificate: dict[str, Any] | None) -> bool:
        """Whether one of the names in a verified client certificate is allowed."""
        allowed = self._tls.client_allowed_sans
        return not allowed or any(name in allowed for _, name in (certificate or {}).get("subjectAltName", ()))

    def _file_versions(self) -> list[tuple[int, ...]]:
        return [file_version(file) for file in (self._tls.cert_file, self._tls.key_file, self._tls.client_ca_file)]
