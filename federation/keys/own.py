"""Our own keys: the one in use, the ones before it, and the document that says so."""

from __future__ import annotations

from typing import Any

from federation.keys.documents import own_document
from federation.storage import server_keys
from federation.storage.server_keys import KeyRow, OwnKeyRow
from homeserver.core.signing import Signer
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

# How long others may keep our document before they ask again: after a rotation, that long at most.
VALID_MS = 86_400_000
_FOR_EVER_MS = 2**53 - 1


class OwnKeys:
    """`start` notes which key is in use: a key that another took the place of is over from then on."""

    def __init__(self, db: Database, signer: Signer, clock: Clock) -> None:
        self._db = db
        self._signer = signer
        self._clock = clock
        self._rows: list[OwnKeyRow] = []
        self._published: dict[str, Any] = {}
        self._until_ms = 0

    async def start(self) -> None:
        """Notes the key in use, and loads those before it."""
        async with self._db.transaction() as tx:
            await server_keys.use_own_key(tx, self._signer.key_id, self._signer.verify_key, self._clock.now_ms())
            self._rows = await server_keys.own_keys(tx)

    def rows(self) -> list[KeyRow]:
        """As rows like those of others; what we sign now is believed without end."""
        return [
            KeyRow(
                self._signer.server_name,
                row.key_id,
                row.verify_key,
                _FOR_EVER_MS if row.expired_ms is None else row.expired_ms,
                row.expired_ms is not None,
            )
            for row in self._rows
        ]

    def document(self) -> dict[str, Any]:
        """What we publish. Signed anew once half of its time is over."""
        now_ms = self._clock.now_ms()
        if self._until_ms - now_ms < VALID_MS // 2:
            self._until_ms = now_ms + VALID_MS
            self._published = own_document(self._signer, self._rows, self._until_ms)
        return self._published
