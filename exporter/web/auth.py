"""Basic authentication (RFC 7617) against bcrypt hashes.

bcrypt is slow by design, so it is the attacker's lever: one check runs at a time, on a thread of its own; few
wait, of one client at most two; who brings the same waits for the same check; and an answer once given is
remembered. Right answers are kept apart from wrong
ones, so that no flood of guesses makes a scraper wait again. An unknown user costs what a known one does.
"""

import asyncio
import binascii
import hashlib
import hmac
import os
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

_LONGEST_PASSWORD = 72  # bytes; bcrypt knows no longer one
_REMEMBERED = 128
_MOST_WAITING = 16
_MOST_WAITING_OF_ONE = 2


class BusyError(Exception):
    """Too many passwords wait to be checked."""


class Users:
    """Used on the event loop only."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """`hashes` by user name. Nobody is asked for a password where there are none."""
        self._hashes = {name.encode(): value.encode() for name, value in hashes.items()}
        cost = max((value.split(b"$")[2] for value in self._hashes.values()), default=b"10")
        self._nobody = b"$2b$" + cost + b"$" + b"." * 53
        self._secret = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}
        self._waiting: Counter[str] = Counter()
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._thread = ThreadPoolExecutor(1, "bcrypt")

    async def allow(self, authorization: bytes, peer: str) -> bool:
        """Whether the header names a user with the right password. Raises BusyError."""
        if not self._hashes:
            return True
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        # Keyed, so that what is remembered is of no use to whoever reads the memory.
        digest = hmac.digest(self._secret, b"%d:%b:%b" % (len(user), user, password), hashlib.sha256)
        if digest in self._right or digest in self._wrong:
            return digest in self._right
        checking = self._checking.get(digest)
        if checking is None:
            if self._waiting.total() >= _MOST_WAITING or self._waiting[peer] >= _MOST_WAITING_OF_ONE:
                raise BusyError
            self._waiting[peer] += 1
            checking = self._checking[digest] = asyncio.create_task(self._check(user, password, peer, digest))
        return await asyncio.shield(checking)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, user: bytes, password: bytes, peer: str, digest: bytes) -> bool:
        try:
            hashed = self._hashes.get(user, self._nobody)
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._thread, bcrypt.checkpw, password, hashed) and user in self._hashes
        finally:
            del self._checking[digest]
            self._waiting[peer] -= 1
            self._waiting += Counter()  # drops the zeros
        remembered = self._right if right else self._wrong
        remembered[digest] = None
        while len(remembered) > _REMEMBERED:
            del remembered[next(iter(remembered))]
        return right


def _credentials(authorization: bytes) -> tuple[bytes, bytes] | None:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(token.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon and len(password) <= _LONGEST_PASSWORD and b"\0" not in password else None
