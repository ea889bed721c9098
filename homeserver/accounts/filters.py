"""Filters that clients have uploaded. spec: client-server-api/#filtering"""

from __future__ import annotations

import hashlib
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import LimitExceeded, NotFound, Unavailable
from homeserver.core.filters import Filter, parse_filter
from homeserver.core.identifiers import UserId
from homeserver.storage import filters
from homeserver.storage.database import Database

FILTERS_MAX = 1_000
_ATTEMPTS = 5


class Filters:
    """Keeps filters, the same one once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, user_id: UserId, definition: dict[str, Any]) -> str:
        """The filter's id. Raises BadJson, InvalidParam, LimitExceeded."""
        parse_filter(definition)
        data = canonical_json.encode(definition)
        digest = hashlib.sha256(data).digest()
        for _ in range(_ATTEMPTS):
            async with self._db.transaction() as tx:
                known = await filters.known(tx, user_id, digest)
                if known is not None:
                    return str(known)
                filter_id = await filters.next_id(tx, user_id)
                if filter_id >= FILTERS_MAX:
                    raise LimitExceeded(f"an account may have {FILTERS_MAX} filters", retry_after_ms=60_000)
                if await filters.insert(tx, user_id, filter_id, digest, data):
                    return str(filter_id)
        raise Unavailable("too many filters are being added at once")

    async def definition(self, user_id: UserId, filter_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        found = None
        if filter_id.isascii() and filter_id.isdigit() and len(filter_id) < 9:
            found = await filters.one(self._db, user_id, int(filter_id))
        if found is None:
            raise NotFound("there is no such filter")
        value: dict[str, Any] = canonical_json.decode(found)
        return value

    async def get(self, user_id: UserId, filter_id: str) -> Filter:
        """Raises NotFound."""
        return parse_filter(await self.definition(user_id, filter_id))
