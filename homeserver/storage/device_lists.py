"""The table `device_list_changes`: when each user's devices or keys last changed."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_UPSERT = """
    INSERT INTO device_list_changes (user_id, position) VALUES ($1, $2)
    ON CONFLICT (user_id) DO UPDATE SET position = excluded.position
"""
_CHANGED = """
    SELECT user_id FROM device_list_changes WHERE position > $1 AND user_id = ANY($2::text[])
"""
_POSITION = "SELECT position FROM device_list_changes WHERE user_id = $1"


async def upsert(tx: Tx, user_id: UserId, position: int) -> None:
    await tx.execute(_UPSERT, user_id, position)


async def changed(db: Reader, since: int, among: Collection[UserId]) -> set[UserId]:
    """Those of these users whose devices or keys changed after a position."""
    return {UserId(row["user_id"]) for row in await db.fetch(_CHANGED, since, list(among))}


async def position(db: Reader, user_id: UserId) -> int:
    """When the user's devices or keys changed last; 0: never."""
    return await db.fetchval(_POSITION, user_id) or 0
