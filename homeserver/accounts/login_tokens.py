"""Tokens that bring another device of a user in. spec: client-server-api/#post_matrixclientv1loginget_token"""

from __future__ import annotations

import hashlib

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import login_tokens, upstream_sessions
from homeserver.storage.database import Database

TOKEN_CHARS_MAX = 255
# At once: whoever brings in several devices has one for each.
PER_USER_MAX = 10


class LoginTokens:
    """Gives them out and takes them in, each once."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness, *, lifetime_s: int) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._lifetime_s = lifetime_s

    async def upstream_of(self, user_id: UserId, device_id: DeviceId | None) -> int | None:
        """The sign-in elsewhere that a device came of."""
        return await upstream_sessions.of_device(self._db, user_id, device_id) if device_id is not None else None

    async def give(self, user_id: UserId, upstream: int | None = None) -> tuple[str, int]:
        """A token, and the milliseconds for which it is good. The oldest of many of this user ends.

        `upstream` is the sign-in elsewhere with which all ends that comes of this token.
        """
        token = f"hsl_{self._randomness.token(32)}"
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            await login_tokens.trim(tx, user_id, PER_USER_MAX - 1)
            await login_tokens.insert(tx, _digest(token), user_id, now + self._lifetime_s * 1000, upstream, now)
        return token, self._lifetime_s * 1000

    async def take(self, token: str) -> tuple[UserId, int | None]:
        """Whose it is, and the sign-in elsewhere that it came of; it is used up. Raises Forbidden."""
        if len(token) > TOKEN_CHARS_MAX:
            raise Forbidden("this login token is not good")
        async with self._db.transaction() as tx:
            taken = await login_tokens.take(tx, _digest(token), self._clock.now_ms())
        if taken is None:
            raise Forbidden("this login token is not, or no longer, good")
        return taken

    async def end(self, user_id: UserId) -> bool:
        """The account has ended: what led into it is forgotten."""
        async with self._db.transaction() as tx:
            await login_tokens.end(tx, user_id)
            await login_tokens.unlink_all(tx, user_id)
        return True


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
