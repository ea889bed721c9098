"""What would expire: counted, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId
from homeserver.storage.database import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRoom:
    """A room that nobody holds, and its own wish in milliseconds."""

    room_nid: int
    room_id: RoomId
    retention_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expires:
    """What of a room would go. `files` are those that these messages show; times in milliseconds."""

    room_nid: int
    events: int
    bytes: int
    files: int
    oldest_ts: int


_ROOMS = """
    SELECT r.room_nid, r.room_id, f.retention_ms FROM rooms r LEFT JOIN room_facts f USING (room_nid)
    WHERE r.room_nid > $1 AND ($2::text IS NULL OR r.room_id = $2)
        AND NOT EXISTS (SELECT FROM held_rooms h WHERE h.room_id = r.room_id)
    ORDER BY r.room_nid LIMIT $3
"""
_COUNT_ROOMS = "SELECT count(*) FROM rooms WHERE $1::text IS NULL OR room_id = $1"
_EXPIRES = """
    SELECT e.room_nid, count(DISTINCT e.event_nid) AS events, coalesce(sum(octet_length(e.json)), 0)::bigint AS bytes,
        (SELECT count(DISTINCT l.media_id) FROM media_links l WHERE l.event_nid = ANY(array_agg(e.event_nid))) AS files,
        min(e.origin_server_ts) AS oldest_ts
    FROM unnest($1::bigint[], $2::bigint[]) AS room(nid, before_ms) JOIN events e ON e.room_nid = room.nid
    WHERE e.ordering IS NOT NULL AND e.key_nid IS NULL AND e.flags = 0 AND e.origin_server_ts < room.before_ms
        AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = e.sender)
        AND e.ordering < (SELECT max(ordering) FROM events WHERE room_nid = room.nid AND ordering IS NOT NULL)
    GROUP BY e.room_nid
"""


async def rooms(db: Reader, after: int, room_id: str | None, limit: int) -> list[KeptRoom]:
    """Rooms by number, or the one."""
    return [KeptRoom(**row) for row in await db.fetch(_ROOMS, after, room_id, limit)]


async def count_rooms(db: Reader, room_id: str | None) -> int:
    return int(await db.fetchval(_COUNT_ROOMS, room_id))


async def expires(db: Reader, before: Mapping[int, int]) -> list[Expires]:
    """What is older than a time, for each of these rooms (number → time in ms) in which something is."""
    return [Expires(**row) for row in await db.fetch(_EXPIRES, list(before), list(before.values()))]
