"""Tokens by which a user proves to another service who they are. spec: client-server-api/#openid

Such a token opens nothing else: it is of another kind than an access token, kept elsewhere, and good for an hour.
"""

from __future__ import annotations

import hashlib
from typing import Any

from homeserver.core.errors import UnknownToken
from homeserver.core.identifiers import ServerName, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import openid_tokens
from homeserver.storage.database import Database

LIFETIME_S = 3_600
TOKENS_PER_USER_MAX = 50
TOKEN_CHARS_MAX = 128


class OpenIdTokens:
    """Gives such tokens out, and tells other services whose they are."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness, server_name: ServerName) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._server_name = server_name

    async def issue(self, user_id: UserId) -> dict[str, Any]:
        """A new token as the spec's answer. The oldest goes when a user has very many."""
        token, now = f"hso_{self._randomness.token(32)}", self._clock.now_ms()
        async with self._db.transaction() as tx:
            await openid_tokens.trim(tx, user_id, now, TOKENS_PER_USER_MAX - 1)
            await openid_tokens.insert(tx, _digest(token), user_id, now + LIFETIME_S * 1000)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self._server_name,
            "expires_in": LIFETIME_S,
        }

    async def holder(self, token: str) -> UserId:
        """Whose token it is: the `sub` of /_matrix/federation/v1/openid/userinfo. Raises UnknownToken."""
        user_id = None
        if len(token) <= TOKEN_CHARS_MAX:
            user_id = await openid_tokens.holder(self._db, _digest(token), self._clock.now_ms())
        if user_id is None:
            raise UnknownToken("this token is not, or no longer, good")
        return user_id


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
