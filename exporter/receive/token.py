"""Who may send: a client whose Authorization header carries the token."""

import hmac
import logging

from exporter.config.receive import read_token
from exporter.credentials import basic_credentials
from exporter.process.file_version import file_version

_log = logging.getLogger(__name__)


class Token:
    """The token in a file. A change of the file counts from the next request on."""

    def __init__(self, token_file: str) -> None:
        """Raises OSError or ValueError if there is no token in the file."""
        self._file = token_file
        self._version = file_version(token_file)
        self._token = read_token(token_file)

    def is_in(self, authorization: str) -> bool:
        """Whether the value of an Authorization header carries the token: as Bearer, or as the password of Basic.

        Langfuse's clients send Basic, with the public key as the user and the secret key as the password.
        """
        self._read_again_if_changed()
        return hmac.compare_digest(_credentials(authorization.encode("latin-1", "replace")), self._token)

    def _read_again_if_changed(self) -> None:
        """If the file has no token now, the token of before stays valid: an editor may be replacing the file."""
        version = file_version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._token = read_token(self._file)
            _log.info("the token in %s was read again", self._file)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            _log.warning("token_file: %s: %s; the token of before stays valid", self._file, problem)


def _credentials(authorization: bytes) -> bytes:
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    return (basic_credentials(authorization) or (b"", b""))[1]
