"""Passwords, hashed with argon2id in threads of their own so that no other request waits for a hash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from homeserver.core.errors import LimitExceeded, MatrixError

LENGTH_MAX = 512
WAITING_MAX = 200
_THREADS = 2


class WeakPassword(MatrixError):
    errcode, status = "M_WEAK_PASSWORD", 400


class Passwords:
    """Hashes and checks passwords. A hash costs what the configuration says (about 50 ms of CPU by default)."""

    def __init__(self, *, time_cost: int, memory_kib: int, parallelism: int, length_min: int) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._length_min = length_min
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        # Checked in place of an account's hash where there is none, so that both answers take the same time.
        self._nobody = self._hasher.hash("nobody's password")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check_new(self, password: str) -> None:
        """Raises WeakPassword for one that is too short, MatrixError for one that is absurdly long."""
        if len(password) < self._length_min:
            raise WeakPassword(f"the password must have at least {self._length_min} characters")
        if len(password) > LENGTH_MAX:
            raise MatrixError(f"the password may have {LENGTH_MAX} characters", errcode="M_INVALID_PARAM")

    async def hash(self, password: str) -> str:
        """Raises LimitExceeded when too many hashes wait already."""
        return await self._run(self._hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password. Takes the same time when there is no hash to check."""
        if len(password) > LENGTH_MAX:
            return False
        matches = await self._run(self._verify, password_hash or self._nobody, password)
        return matches == "yes" and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than now configured."""
        try:
            return self._hasher.check_needs_rehash(password_hash)
        except InvalidHashError:
            return False

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, password_hash: str, password: str) -> str:
        try:
            self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return "no"
        return "yes"

    async def _run(self, work: Callable[..., str], *arguments: str) -> str:
        if self._waiting >= WAITING_MAX:
            raise LimitExceeded("too many log-ins at once", retry_after_ms=2000)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, work, *arguments)
        finally:
            self._waiting -= 1
