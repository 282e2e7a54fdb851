"""Who may send: a client whose Authorization header contains the token."""

import hmac
from functools import partial

from exporter.config.receive import read_token
from exporter.credentials import basic_credentials
from exporter.process.reloaded import Reloaded


class Token:
    """The token in a file. A change of the file counts from the next request on."""

    def __init__(self, token_file: str) -> None:
        """Raises OSError or ValueError if there is no token in the file."""
        self._token = Reloaded(f"token in {token_file}", [token_file], partial(read_token, token_file))

    def is_in(self, authorization: str) -> bool:
        """Whether the value of an Authorization header contains the token: as Bearer, or as the password of Basic.

        Langfuse's clients send Basic, with the public key as the user and the secret key as the password.
        """
        given = authorization.encode("latin-1", "replace")
        scheme, _, value = given.partition(b" ")
        _, password = basic_credentials(given) or (b"", b"")
        return hmac.compare_digest(value.strip() if scheme.lower() == b"bearer" else password, self._token.current())
