"""Clients that register themselves. spec: client-server-api/#client-registration"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.accounts.oauth.client_metadata import checked_metadata
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import oauth
from homeserver.storage.database import Database

CLIENTS_MAX = 100_000
IDLE_MS = 7 * 24 * 3_600_000
CLIENT_ID_CHARS_MAX = 64


class OAuthClients:
    """Registers clients and finds them. The same metadata are the same client."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness

    async def register(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """client_id and what was taken of the metadata. Raises OAuthError."""
        metadata = checked_metadata(given)
        data = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            if await oauth.client_count(tx) >= CLIENTS_MAX:
                await oauth.trim_clients(tx, now - IDLE_MS)
                if await oauth.client_count(tx) >= CLIENTS_MAX:
                    raise OAuthError("temporarily_unavailable", "too many clients are registered", status=503)
            fresh, digest = self._randomness.token(18), hashlib.sha256(data).digest()
            client_id = await oauth.insert_client(tx, fresh, digest, data, now)
        return {**metadata, "client_id": client_id, "client_id_issued_at": now // 1000}

    async def get(self, client_id: str) -> dict[str, Any]:
        """Its metadata. Raises OAuthError (invalid_client)."""
        data = await oauth.client(self._db, client_id) if 0 < len(client_id) <= CLIENT_ID_CHARS_MAX else None
        if data is None:
            raise OAuthError("invalid_client", "this client is not registered", status=401)
        metadata: dict[str, Any] = orjson.loads(data)
        return metadata
