"""Randomness, as a parameter: tokens and ids that nobody can guess."""

from __future__ import annotations

import base64
import secrets
from typing import Protocol

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Randomness(Protocol):
    def token(self, size: int = 32) -> str:
        """`size` random bytes as base64url without padding: for tokens, sessions, media ids."""
        ...

    def letters(self, count: int) -> str:
        """Random ASCII letters: for ids that people see."""
        ...

    def bytes(self, size: int) -> bytes: ...

    def fraction(self) -> float:
        """Uniform in [0, 1): for jitter, never for secrets."""
        ...


class SystemRandomness:
    """The operating system's generator."""

    def token(self, size: int = 32) -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(size)).rstrip(b"=").decode("ascii")

    def letters(self, count: int) -> str:
        return "".join(secrets.choice(_LETTERS) for _ in range(count))

    def bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    def fraction(self) -> float:
        return secrets.randbelow(2**53) / 2**53
