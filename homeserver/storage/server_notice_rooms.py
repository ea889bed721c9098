"""The table `server_notice_rooms`."""

from __future__ import annotations

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx

_OF_USER = "SELECT room_id FROM server_notice_rooms WHERE user_id = $1"
_SET = """
    INSERT INTO server_notice_rooms (user_id, room_id) VALUES ($1, $2)
    ON CONFLICT (user_id) DO UPDATE SET room_id = excluded.room_id
"""
_IS_OF = "SELECT EXISTS (SELECT FROM server_notice_rooms WHERE room_id = $1 AND user_id = $2)"


async def of_user(db: Reader, user_id: UserId) -> RoomId | None:
    room_id: RoomId | None = await db.fetchval(_OF_USER, user_id)
    return room_id


async def set_room(tx: Tx, user_id: UserId, room_id: RoomId) -> None:
    await tx.execute(_SET, user_id, room_id)


async def is_of(db: Reader, room_id: RoomId, user_id: UserId) -> bool:
    """Whether this is the room in which the server talks to this user."""
    return bool(await db.fetchval(_IS_OF, room_id, user_id))
