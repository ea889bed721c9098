"""Passwords, hashed with argon2id in threads of their own so that no other request waits for a hash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from homeserver.config import ConfigError, Problem
from homeserver.config.schema import Password as PasswordConfig
from homeserver.core.errors import LimitExceeded, MatrixError

LENGTH_MAX = 512
WAITING_MAX = 200
_THREADS = 2


class WeakPassword(MatrixError):
    errcode, status = "M_WEAK_PASSWORD", 400


# What a password may have to hold, and what whoever chose one without it reads.
_KINDS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "digit": (str.isdigit, "a digit"),
    "lowercase": (str.islower, "a small letter"),
    "uppercase": (str.isupper, "a capital letter"),
    "symbol": (lambda char: not char.isalnum() and not char.isspace(), "a character that is no letter or digit"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRules:
    """What a new password must be. `denied` are in small letters."""

    length_min: int
    needs: tuple[str, ...] = ()
    denied: frozenset[str] = frozenset()

    def check(self, password: str) -> None:
        """Raises WeakPassword for one that is too weak, MatrixError for one that is absurdly long."""
        if len(password) < self.length_min:
            raise WeakPassword(f"the password must have at least {self.length_min} characters")
        if len(password) > LENGTH_MAX:
            raise MatrixError(f"the password may have {LENGTH_MAX} characters", errcode="M_INVALID_PARAM")
        lacking = [_KINDS[kind][1] for kind in self.needs if not any(map(_KINDS[kind][0], password))]
        if lacking:
            raise WeakPassword(f"the password must hold {', '.join(lacking)}")
        if password.casefold() in self.denied:
            raise WeakPassword("others have chosen this password too, and those who guess passwords know it")

    def as_policy(self) -> dict[str, Any]:
        """For clients that say it before somebody types (MSC2000)."""
        return {"m.minimum_length": self.length_min, **{f"m.require_{kind}": kind in self.needs for kind in _KINDS}}


def read_denied(path: Path | None) -> frozenset[str]:
    """The passwords of a file. Raises ConfigError."""
    if path is None:
        return frozenset()
    try:
        return frozenset(line.strip().casefold() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        problem = f"`password.denied_path` can't be read: {path}: {type(error).__name__}"
        raise ConfigError([Problem(problem, "give a text file in UTF-8, with one password a line")]) from None


def passwords_of(config: PasswordConfig) -> Passwords:
    """As an operator wants them. Reads a file. Raises ConfigError."""
    rules = PasswordRules(length_min=config.length_min, needs=config.needs, denied=read_denied(config.denied_path))
    return Passwords(rules, time_cost=config.time_cost, memory_kib=config.memory_kib, parallelism=config.parallelism)


class Passwords:
    """Hashes and checks passwords. A hash costs what the configuration says (about 50 ms of CPU by default)."""

    def __init__(self, rules: PasswordRules, *, time_cost: int, memory_kib: int, parallelism: int) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self.rules = rules
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        # Checked in place of an account's hash where there is none, so that both answers take the same time.
        self._nobody = self._hasher.hash("nobody's password")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check_new(self, password: str) -> None:
        """Raises WeakPassword for one that is too weak, MatrixError for one that is absurdly long."""
        self.rules.check(password)

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
