"""TLS 1.2 and newer, with a certificate that is read again when its files change."""

import logging
import os
import ssl
from typing import Any

from exporter.web_config import Tls

_log = logging.getLogger(__name__)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def context_of(tls: Tls) -> ssl.SSLContext:
    """Raises ValueError with one sentence where a file is missing, is no PEM, or does not fit the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    for name in ("cert_file", "key_file", "client_ca_file"):
        _readable(name, getattr(tls, name))
    try:
        # Without a password of our own OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or "the key is protected by a password, or is no PEM"
        raise ValueError(f"{tls.cert_file} and {tls.key_file} are no certificate and its key: {why}") from None
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as error:
            raise ValueError(f"{tls.client_ca_file} holds no certificate: {error.reason}") from None
        context.verify_mode = _VERIFY[tls.client_auth_type]
    return context


def _readable(name: str, file: str) -> None:
    try:
        if file:
            with open(file, "rb"):
                pass
    except OSError as error:
        raise ValueError(f"{name}: {file} cannot be read: {error.strerror}") from None


class Certificates:
    """The context for the next connection. Certificate, key and CA count as changed when their inode, size or
    time does; new ones that do not fit (an issuer writes two files one after the other) leave the old in use.
    """

    def __init__(self, tls: Tls) -> None:
        """Raises ValueError as `context_of` does."""
        self._tls = tls
        self._stamps = self._look()
        self._context = context_of(tls)

    def context(self) -> ssl.SSLContext:
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = context_of(self._tls)
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
