"""Messages that have expired: hidden from everybody, and their content gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId
from homeserver.storage import bodies
from homeserver.storage.database import Reader, Tx

# Beside REJECTED and SOFT_FAILED of storage.events: such an event is shown to nobody.
EXPIRED = 4


@dataclass(frozen=True, slots=True)
class KeptRoom:
    """A room whose messages expire. `retention_ms` is its own wish: None or 0 if it has none."""

    room_nid: int
    room_id: RoomId
    version: str
    retention_ms: int | None
    expired_upto: int


@dataclass(frozen=True, slots=True)
class Aged:
    """An event of a timeline, and its age; `json` is None for what doesn't expire: state, and what held users said.

    `said_ms` is when it was said by its sender's clock, but no later than it came here: nobody keeps a room's messages
    for ever by a time that they claim.
    """

    event_nid: int
    place: int
    said_ms: int
    json: bytes | None


_WITH_OWN = """
    SELECT f.room_nid, r.room_id, r.version, f.retention_ms, f.expired_upto
    FROM room_facts f JOIN rooms r USING (room_nid)
    WHERE f.retention_ms > 0 AND f.room_nid > $1 AND NOT EXISTS (SELECT FROM held_rooms h WHERE h.room_id = r.room_id)
    ORDER BY f.room_nid LIMIT $2
"""
_ALL = """
    SELECT f.room_nid, r.room_id, r.version, f.retention_ms, f.expired_upto
    FROM room_facts f JOIN rooms r USING (room_nid)
    WHERE f.room_nid > $1 AND NOT EXISTS (SELECT FROM held_rooms h WHERE h.room_id = r.room_id)
    ORDER BY f.room_nid LIMIT $2
"""
# The newest event of a room stays: it is where the room goes on.
_PAGE = """
    SELECT event_nid, event_id, ordering, origin_server_ts, coalesce(received_ms, origin_server_ts) AS received_ms,
        CASE WHEN key_nid IS NULL AND flags = 0
        AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = sender) THEN json END AS json
    FROM events
    WHERE room_nid = $1 AND ordering > $2 AND ordering < (
        SELECT max(ordering) FROM events WHERE room_nid = $1 AND ordering IS NOT NULL
    )
    ORDER BY ordering LIMIT $3
"""
_EXPIRE = """
    UPDATE events SET flags = flags | 4, json = expired.json
    FROM unnest($1::bigint[], $2::bytea[]) AS expired(nid, json)
    WHERE event_nid = expired.nid
"""
_UNLINK = "DELETE FROM media_links WHERE event_nid = ANY($1::bigint[])"
_MOVE = "UPDATE room_facts SET expired_upto = $2 WHERE room_nid = $1"


async def rooms(db: Reader, after: int, limit: int, *, with_own: bool) -> list[KeptRoom]:
    """Rooms by number from after one on: those with a wish of their own, or all."""
    rows = await db.fetch(_WITH_OWN if with_own else _ALL, after, limit)
    return [
        KeptRoom(row["room_nid"], RoomId(row["room_id"]), row["version"], row["retention_ms"], row["expired_upto"])
        for row in rows
    ]


async def page(db: Reader, room_nid: int, after: int, limit: int) -> list[Aged]:
    """A room's events from after a place on, up to one whose body can't be read: what it says is to expire later."""
    read = await db.fetch(_PAGE, room_nid, after, limit)
    rows = await bodies.whole(db, read)
    if len(rows) < len(read):
        here = {row["event_nid"] for row in rows}
        end = next(row["ordering"] for row in read if row["event_nid"] not in here)
        rows = [row for row in rows if row["ordering"] < end]
    return [
        Aged(row["event_nid"], row["ordering"], min(row["origin_server_ts"], row["received_ms"]), row["json"])
        for row in rows
    ]


async def hide(tx: Tx, expired: Mapping[int, bytes]) -> None:
    """The same for single events."""
    await tx.execute(_EXPIRE, list(expired), list(expired.values()))
    await tx.execute(_UNLINK, list(expired))


async def expire(tx: Tx, room_nid: int, expired: Mapping[int, bytes], upto: int) -> None:
    """Puts what is left of these events in the place of what they said, and goes on after a place next time."""
    await tx.execute(_EXPIRE, list(expired), list(expired.values()))
    await tx.execute(_UNLINK, list(expired))
    await tx.execute(_MOVE, room_nid, upto)
