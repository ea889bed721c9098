"""A captcha that asks nobody else: whoever registers has their machine search for a number, for about a second.

Cheap for one person, dear for whoever makes a thousand accounts. Challenges and answers have the form of ALTCHA
(version 1), so that its widgets can solve them too; each answer counts once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

LIFETIME_S = 600
ANSWER_CHARS_MAX = 2_000
USED_MAX = 100_000
_ALGORITHM = "SHA-256"


class ProofOfWork:
    """`work` is how many hashes the longest search takes; half of that on average."""

    def __init__(self, work: int, clock: Clock, randomness: Randomness) -> None:
        self._work = work
        self._clock = clock
        self._randomness = randomness
        self._key = randomness.bytes(32)
        # Answers that were given, with when their challenge ends.
        self._used: OrderedDict[str, int] = OrderedDict()

    def challenge(self) -> dict[str, Any]:
        """Nothing is kept of it."""
        salt = f"{self._randomness.token(16)}?expires={self._clock.now_ms() // 1000 + LIFETIME_S}"
        number = int.from_bytes(self._randomness.bytes(8)) % (self._work + 1)
        digest = hashlib.sha256(f"{salt}{number}".encode()).hexdigest()
        return {
            "algorithm": _ALGORITHM,
            "challenge": digest,
            "maxnumber": self._work,
            "salt": salt,
            "signature": self._signature(digest),
        }

    async def stage(self, auth: Mapping[str, Any], operation: str, user_id: UserId | None) -> str:
        """A stage of interactive authentication. Raises as `check`."""
        self.check(auth.get("response"))
        return ""

    def check(self, answer: object) -> None:
        """Raises MatrixError: M_CAPTCHA_NEEDED without an answer, M_CAPTCHA_INVALID for one that isn't good."""
        if not isinstance(answer, str) or not answer:
            raise MatrixError("the captcha must be solved", errcode="M_CAPTCHA_NEEDED")
        if not self._is_good(answer):
            raise MatrixError("the captcha was not solved", errcode="M_CAPTCHA_INVALID", status=401)

    def _is_good(self, answer: str) -> bool:
        try:
            given = orjson.loads(base64.b64decode(answer[:ANSWER_CHARS_MAX], validate=True))
        except (binascii.Error, ValueError):
            return False
        if not isinstance(given, dict) or given.get("algorithm") != _ALGORITHM:
            return False
        salt, digest, number, signature = (given.get(key) for key in ("salt", "challenge", "number", "signature"))
        if not isinstance(salt, str) or not isinstance(digest, str) or not isinstance(signature, str):
            return False
        if not isinstance(number, int) or not 0 <= number <= self._work:
            return False
        if not hmac.compare_digest(self._signature(digest).encode(), signature.encode("utf-8", "surrogatepass")):
            return False
        if hashlib.sha256(f"{salt}{number}".encode("utf-8", "surrogatepass")).hexdigest() != digest:
            return False
        return self._use(digest, salt)

    def _use(self, digest: str, salt: str) -> bool:
        """Whether it is in time, and wasn't given before."""
        now, ends = self._clock.now_ms() // 1000, salt.rpartition("?expires=")[2]
        if not ends.isdecimal() or int(ends) < now or digest in self._used:
            return False
        while self._used and (len(self._used) >= USED_MAX or next(iter(self._used.values())) < now):
            self._used.popitem(last=False)
        self._used[digest] = int(ends)
        return True

    def _signature(self, digest: str) -> str:
        return hmac.new(self._key, digest.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
