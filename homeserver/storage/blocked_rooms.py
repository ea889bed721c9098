"""The table `blocked_rooms`: rooms that nobody here may join or be invited to."""

from __future__ import annotations

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx

_BY = "SELECT blocked_by FROM blocked_rooms WHERE room_id = $1"
_ALL = "SELECT room_id FROM blocked_rooms"
_BLOCK = "INSERT INTO blocked_rooms (room_id, blocked_by, blocked_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_UNBLOCK = "DELETE FROM blocked_rooms WHERE room_id = $1"


async def blocked_by(db: Reader, room_id: RoomId) -> UserId | None:
    """Who blocked the room; None where it isn't blocked."""
    found: str | None = await db.fetchval(_BY, room_id)
    return UserId(found) if found is not None else None


async def all_of_them(db: Reader) -> set[RoomId]:
    return {RoomId(row["room_id"]) for row in await db.fetch(_ALL)}


async def block(tx: Tx, room_id: RoomId, user_id: UserId, now_ms: int) -> None:
    await tx.execute(_BLOCK, room_id, user_id, now_ms)


async def unblock(tx: Tx, room_id: RoomId) -> None:
    await tx.execute(_UNBLOCK, room_id)
