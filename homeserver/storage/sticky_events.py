"""The table `sticky_events`: what is told for sure while it lasts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Database, Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyRow:
    """One event. `place` is the journal's position from which on it is told; None: not yet."""

    event_nid: int
    room_nid: int
    sender: UserId
    place: int | None
    expires_ts: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An event that is told, at its place in the journal."""

    event_nid: int
    room_nid: int
    place: int


@dataclass(frozen=True, slots=True)
class Newest:
    """What is known of a room: the newest place, and when the last of its sticky events ends."""

    room_id: RoomId
    place: int
    expires_ts: int


_INSERT = """
    INSERT INTO sticky_events (event_nid, room_nid, sender, place, expires_ts)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
    ON CONFLICT (event_nid) DO NOTHING
"""
_AFTER = """
    SELECT event_nid, room_nid, place FROM sticky_events
    WHERE room_nid = ANY($1::bigint[]) AND place > $2 AND place <= $3 AND expires_ts > $4
    ORDER BY place, event_nid LIMIT $5
"""
_OF_SERVER = """
    SELECT event_nid, room_nid, place FROM sticky_events
    WHERE room_nid = ANY($1::bigint[]) AND place IS NOT NULL AND expires_ts > $2
        AND substr(sender, strpos(sender, ':') + 1) = $3
    ORDER BY place, event_nid LIMIT $4
"""
_NEWEST = """
    SELECT r.room_id, max(s.place) AS place, max(s.expires_ts) AS expires_ts
    FROM sticky_events s JOIN rooms r USING (room_nid)
    WHERE s.place IS NOT NULL AND s.expires_ts > $1 GROUP BY r.room_id
"""
_WAITING = """
    SELECT s.event_nid FROM sticky_events s JOIN rooms r USING (room_nid)
    WHERE r.room_id = $1 AND s.place IS NULL AND s.expires_ts > $2 ORDER BY s.event_nid LIMIT $3
"""
_WAITING_ROOMS = """
    SELECT DISTINCT r.room_id FROM sticky_events s JOIN rooms r USING (room_nid)
    WHERE s.place IS NULL AND s.expires_ts > $1
"""
_PLACE = """
    UPDATE sticky_events SET place = $2 WHERE event_nid = ANY($1::bigint[]) AND place IS NULL
    RETURNING expires_ts
"""
_DELETE = "DELETE FROM sticky_events WHERE expires_ts <= $1"


async def insert(tx: Tx, rows: Sequence[StickyRow]) -> None:
    """Those that are there stay as they are."""
    await tx.execute(
        _INSERT,
        [row.event_nid for row in rows],
        [row.room_nid for row in rows],
        [row.sender for row in rows],
        [row.place for row in rows],
        [row.expires_ts for row in rows],
    )


async def after(db: Reader, room_nids: Collection[int], since: int, upto: int, now_ms: int, limit: int) -> list[Placed]:
    """Those of these rooms with a place in (since, upto] that haven't ended, oldest first. One index scan a room."""
    found = await db.fetch(_AFTER, list(room_nids), since, upto, now_ms, limit)
    return [Placed(row["event_nid"], row["room_nid"], row["place"]) for row in found]


async def of_server(db: Reader, room_nids: Collection[int], server_name: str, now_ms: int, limit: int) -> list[Placed]:
    """Those that users of a server sent to these rooms and that haven't ended, oldest first."""
    found = await db.fetch(_OF_SERVER, list(room_nids), now_ms, server_name, limit)
    return [Placed(row["event_nid"], row["room_nid"], row["place"]) for row in found]


async def newest(db: Reader, now_ms: int) -> list[Newest]:
    """Every room that has some."""
    return [Newest(RoomId(row["room_id"]), row["place"], row["expires_ts"]) for row in await db.fetch(_NEWEST, now_ms)]


async def waiting(db: Reader, room_id: RoomId, now_ms: int, limit: int) -> list[int]:
    """The numbers of those that aren't told yet."""
    return [row["event_nid"] for row in await db.fetch(_WAITING, room_id, now_ms, limit)]


async def waiting_rooms(db: Reader, now_ms: int) -> set[RoomId]:
    """Rooms in which some aren't told yet."""
    return {RoomId(row["room_id"]) for row in await db.fetch(_WAITING_ROOMS, now_ms)}


async def place(tx: Tx, event_nids: Collection[int], position: int) -> int:
    """Has them told from this position on; when the last of them ends, 0 if there was none left."""
    found = await tx.fetch(_PLACE, list(event_nids), position)
    return max((row["expires_ts"] for row in found), default=0)


async def delete_ended(db: Database, now_ms: int) -> None:
    """Forgets those whose time is over."""
    await db.execute(_DELETE, now_ms)
