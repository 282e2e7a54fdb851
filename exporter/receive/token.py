"""Who may send: a client whose Authorization header carries the token."""

import base64
import binascii
import hmac
import logging
import os

from exporter.config.receive import read_token

_log = logging.getLogger(__name__)


class Token:
    """The token in a file. A change of the file counts from the next request on."""

    def __init__(self, token_file: str) -> None:
        """Raises OSError or ValueError if there is no token in the file."""
        self._file = token_file
        self._version = self._file_version()
        self._token = read_token(token_file)

    def is_in(self, authorization: str) -> bool:
        """Whether the value of an Authorization header carries the token: as Bearer, or as the password of Basic.

        Langfuse's clients send Basic, with the public key as the user and the secret key as the password.
        """
        self._read_again_if_changed()
        return hmac.compare_digest(_credentials(authorization), self._token)

    def _read_again_if_changed(self) -> None:
        """If the file has no token now, the token of before stays valid: an editor may be replacing the file."""
        version = self._file_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._token = read_token(self._file)
            _log.info("the token in %s was read again", self._file)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            _log.warning("token_file: %s: %s; the token of before stays valid", self._file, problem)

    def _file_version(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._file)
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _credentials(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
