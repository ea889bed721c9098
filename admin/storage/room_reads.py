"""What pages about one room show, and sizes of all."""

from __future__ import annotations

from homeserver.storage.database import Reader

_DEVICES = """
    SELECT count(*) FROM memberships m JOIN devices USING (user_id) WHERE m.room_nid = $1 AND m.membership = 'join'
"""
_FORGOTTEN = """
    SELECT NOT EXISTS (
        SELECT FROM memberships m JOIN users USING (user_id) WHERE m.room_nid = $1 AND NOT m.is_forgotten
    )
"""
_LARGEST = """
    SELECT r.room_id, sum(length(e.json) + 200)::bigint AS bytes
    FROM events e JOIN rooms r USING (room_nid) WHERE e.room_nid IN (
        SELECT room_nid FROM room_overviews ORDER BY state_events DESC LIMIT 1000
    ) GROUP BY r.room_id ORDER BY bytes DESC LIMIT $1
"""


async def local_devices(db: Reader, room_nid: int) -> int:
    """Devices of users of ours who are in the room."""
    return int(await db.fetchval(_DEVICES, room_nid))


async def is_forgotten(db: Reader, room_nid: int) -> bool:
    """Whether every user of ours who had to do with the room has forgotten it."""
    return bool(await db.fetchval(_FORGOTTEN, room_nid))


async def largest(db: Reader, limit: int) -> list[tuple[str, int]]:
    """Rooms by what their events take, in bytes: the largest first, of the 1,000 with the most state."""
    return [(row["room_id"], row["bytes"]) for row in await db.fetch(_LARGEST, limit)]
