"""The table `filters`: filters that clients have uploaded. The same one twice is kept once."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_KNOWN = "SELECT filter_id FROM filters WHERE user_id = $1 AND digest = $2"
_NEXT = "SELECT coalesce(max(filter_id), -1) + 1 FROM filters WHERE user_id = $1"
_INSERT = """
    INSERT INTO filters (user_id, filter_id, digest, definition) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_ONE = "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2"


async def known(db: Reader, user_id: UserId, digest: bytes) -> int | None:
    filter_id: int | None = await db.fetchval(_KNOWN, user_id, digest)
    return filter_id


async def next_id(tx: Tx, user_id: UserId) -> int:
    return int(await tx.fetchval(_NEXT, user_id))


async def insert(tx: Tx, user_id: UserId, filter_id: int, digest: bytes, definition: bytes) -> bool:
    """False if another request has just taken the id or kept the same filter."""
    return (await tx.execute(_INSERT, user_id, filter_id, digest, definition)) == "INSERT 0 1"


async def one(db: Reader, user_id: UserId, filter_id: int) -> bytes | None:
    definition: bytes | None = await db.fetchval(_ONE, user_id, filter_id)
    return definition
