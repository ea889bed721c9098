"""The room directory: which rooms of `rooms` are published, and which servers are in a room."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.identifiers import RoomId, ServerName
from homeserver.storage.database import Reader, Tx

_PUBLISHED = "SELECT room_id FROM rooms WHERE is_published ORDER BY room_nid"
_IS_PUBLISHED = "SELECT is_published FROM rooms WHERE room_id = $1"
_PUBLISHED_AMONG = "SELECT room_id FROM rooms WHERE room_id = ANY($1::text[]) AND is_published"
_MOVE = """
    UPDATE rooms SET is_published = (room_id = $2)
    WHERE room_id IN ($1, $2) AND EXISTS (SELECT FROM rooms WHERE room_id = $1 AND is_published)
"""
_SERVERS = """
    SELECT substring(user_id FROM position(':' IN user_id) + 1) AS server, count(*) AS users
    FROM memberships JOIN rooms USING (room_nid) WHERE room_id = $1 AND membership = 'join'
    GROUP BY server ORDER BY users DESC, server LIMIT $2
"""


async def published(db: Reader) -> list[RoomId]:
    """The rooms of the directory, oldest first."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_PUBLISHED)]


async def published_among(db: Reader, room_ids: Collection[RoomId]) -> set[RoomId]:
    """Those of these rooms that are in the directory."""
    return {RoomId(row["room_id"]) for row in await db.fetch(_PUBLISHED_AMONG, list(room_ids))}


async def is_published(db: Reader, room_id: RoomId) -> bool:
    return bool(await db.fetchval(_IS_PUBLISHED, room_id))


async def move(tx: Tx, old: RoomId, new: RoomId) -> None:
    """Publishes the new room in the place of the old one, if that was published."""
    await tx.execute(_MOVE, old, new)


async def servers_in(db: Reader, room_id: RoomId, limit: int) -> list[ServerName]:
    """Servers with joined users, those with the most first."""
    return [ServerName(row["server"]) for row in await db.fetch(_SERVERS, room_id, limit)]
