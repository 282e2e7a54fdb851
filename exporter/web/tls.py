"""TLS 1.2 and newer, with a certificate that is read again when its files change."""

import logging
import os
import ssl
from typing import Any

from exporter.config.tls import TlsConfig, tls_context

_log = logging.getLogger(__name__)


class Certificates:
    """The context for the next connection. Certificate, key and CA count as changed when their inode, size or
    time does; new ones that do not fit (an issuer writes two files one after the other) leave the old in use.
    """

    def __init__(self, tls: TlsConfig) -> None:
        """Raises ValueError as `tls_context` does."""
        self._tls = tls
        self._stamps = self._look()
        self._context = tls_context(tls)

    def context(self) -> ssl.SSLContext:
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = tls_context(self._tls)
            except ValueError as error:
                _log.error("the changed certificate is not used: %s", error)
            else:
                _log.info("the changed certificate is in use")
        return self._context

    def accepts(self, peer: dict[str, Any] | None) -> bool:
        """Whether one of the names in a verified client certificate is allowed."""
        allowed = self._tls.client_allowed_sans
        return not allowed or any(name in allowed for _, name in (peer or {}).get("subjectAltName", ()))

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(f) for f in (self._tls.cert_file, self._tls.key_file, self._tls.client_ca_file)]


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        facts = os.stat(file)
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
