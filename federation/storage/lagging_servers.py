"""The table `lagging_servers`, and what a server that lags has missed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName
from homeserver.storage.database import Reader, Tx

CONSUMER = "federation"


@dataclass(frozen=True, slots=True)
class MissedRoom:
    """A room with events that a server has missed, in (after, upto]: those from when it was in the room."""

    room_nid: int
    after: int
    upto: int


_ALL = "SELECT server_name, sent_position FROM lagging_servers"
_UPSERT = """
    INSERT INTO lagging_servers (server_name, sent_position) SELECT * FROM unnest($1::text[], $2::bigint[])
    ON CONFLICT (server_name) DO UPDATE SET sent_position = excluded.sent_position
"""
_DELETE = "DELETE FROM lagging_servers WHERE server_name = ANY($1::text[])"
# Newest first. Who has left gets what happened up to then: above all that it was made to leave. Who has come since
# gets nothing from before but what sticks, and so is told of the room even if nothing came after it did; of a room that
# we joined without its members, who was in it before has a number from later.
_MISSED = """
    SELECT m.room_nid, m.after, m.upto FROM (
        SELECT room_nid,
            greatest($2, min(
                CASE WHEN p.room_nid IS NOT NULL AND (SELECT ordering FROM events WHERE event_nid = m.event_nid) IS NULL
                THEN least(p.join_nid, m.event_nid) ELSE m.event_nid END
            ) FILTER (WHERE membership = 'join')) AS after,
            CASE WHEN bool_or(membership = 'join') THEN $3 ELSE max(event_nid) END AS upto
        FROM memberships m LEFT JOIN partial_rooms p USING (room_nid)
        WHERE substring(user_id FROM position(':' IN user_id) + 1) = $1
            AND (membership = 'join' OR (membership IN ('leave', 'ban') AND event_nid > $2))
        GROUP BY room_nid
    ) AS m
    CROSS JOIN LATERAL (
        SELECT ordering FROM events
        WHERE room_nid = m.room_nid AND ordering >= m.after AND ordering <= m.upto ORDER BY ordering DESC LIMIT 1
    ) AS newest
    ORDER BY newest.ordering DESC LIMIT $4
"""


async def all_lagging(db: Reader) -> dict[ServerName, int]:
    return {ServerName(row["server_name"]): row["sent_position"] for row in await db.fetch(_ALL)}


async def upsert(tx: Tx, positions: Mapping[ServerName, int]) -> None:
    await tx.execute(_UPSERT, list(positions), list(positions.values()))


async def delete(tx: Tx, servers: Collection[ServerName]) -> None:
    await tx.execute(_DELETE, list(servers))


async def missed_rooms(db: Reader, server: ServerName, after: int, upto: int, limit: int) -> list[MissedRoom]:
    """Rooms of a server with events in (after, upto], those with the newest first. One index look-up a room."""
    rows = await db.fetch(_MISSED, server, after, upto, limit)
    return [MissedRoom(row["room_nid"], row["after"], row["upto"]) for row in rows]
