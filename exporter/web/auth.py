"""HTTP Basic authentication (RFC 7617) against bcrypt hashes.

bcrypt is slow on purpose, so an attacker could use it to overload the exporter. Therefore:

* one check runs at a time, on its own thread; at most 16 are pending, at most two of them for one client;
* requests with the same credentials share one check;
* results are cached. Accepted and rejected credentials have separate caches, so that many wrong guesses cannot evict
  the credentials of a scraper;
* a check takes as long for an unknown user as for a known one, so the time does not reveal user names.
"""

import asyncio
import hashlib
import hmac
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from exporter.credentials import basic_credentials

_MAX_PASSWORD_BYTES = 72  # bcrypt ignores all further bytes
_CACHE_SIZE = 128
_MAX_PENDING = 16
_MAX_PENDING_PER_CLIENT = 2


class BusyError(Exception):
    """Too many passwords are waiting for their check."""


class Authenticator:
    """Checks the credentials of requests. Use it only on the event loop."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """`hashes` maps user names to bcrypt hashes. If it is empty, every request is allowed."""
        self._hashes = {name.encode(): value.encode() for name, value in hashes.items()}
        cost = max((value.split(b"$")[2] for value in self._hashes.values()), default=b"10")
        self._hash_of_unknown_user = b"$2b$" + cost + b"$" + b"." * 53
        self._secret = os.urandom(32)
        self._accepted: dict[bytes, None] = {}
        self._rejected: dict[bytes, None] = {}
        self._pending: Counter[str] = Counter()
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._thread = ThreadPoolExecutor(1, "bcrypt")

    async def allows(self, authorization: bytes, peer: str) -> bool:
        """Whether the Authorization header has a user with the right password. `peer` is the client's address.

        Raises BusyError.
        """
        if not self._hashes:
            return True
        user, password = basic_credentials(authorization) or (b"", b"")
        if not user or len(password) > _MAX_PASSWORD_BYTES or b"\0" in password:
            return False
        # The digest is keyed, so that the cache does not help to guess a password.
        digest = hmac.digest(self._secret, b"%d:%b:%b" % (len(user), user, password), hashlib.sha256)
        if digest in self._accepted or digest in self._rejected:
            return digest in self._accepted
        check = self._checks.get(digest)
        if check is None:
            if self._pending.total() >= _MAX_PENDING or self._pending[peer] >= _MAX_PENDING_PER_CLIENT:
                raise BusyError
            self._pending[peer] += 1
            check = self._checks[digest] = asyncio.create_task(self._check(user, password, peer, digest))
        return await asyncio.shield(check)

    def close(self) -> None:
        """Stop the thread without waiting for the running check."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _check(self, user: bytes, password: bytes, peer: str, digest: bytes) -> bool:
        try:
            hashed = self._hashes.get(user, self._hash_of_unknown_user)
            loop = asyncio.get_running_loop()
            is_match = await loop.run_in_executor(self._thread, bcrypt.checkpw, password, hashed)
            is_right = is_match and user in self._hashes
        finally:
            del self._checks[digest]
            self._pending[peer] -= 1
            self._pending += Counter()  # removes the entries that are 0
        cache = self._accepted if is_right else self._rejected
        cache[digest] = None
        while len(cache) > _CACHE_SIZE:
            del cache[next(iter(cache))]
        return is_right
