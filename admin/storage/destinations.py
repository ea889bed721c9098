"""Other servers, as pages show them: from the members of rooms, and the tables of what federation knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName
from homeserver.storage.database import Reader, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    """`failing_since_ms` and `retry_at_ms` are None for a server that is well; `sent_position` for one that has all."""

    destination: ServerName
    failing_since_ms: int | None
    retry_at_ms: int | None
    failures: int
    reason: str | None
    sent_position: int | None


# Jumps from server to server along the index: one look-up for each, however many members they have.
_PAGE = """
    WITH RECURSIVE servers AS (
        (SELECT min(substring(user_id FROM position(':' IN user_id) + 1)) AS server FROM memberships)
        UNION ALL
        SELECT (
            SELECT min(substring(user_id FROM position(':' IN user_id) + 1)) FROM memberships
            WHERE substring(user_id FROM position(':' IN user_id) + 1) > servers.server
        ) FROM servers WHERE servers.server IS NOT NULL
    ), known AS (
        SELECT server FROM servers WHERE server IS NOT NULL
        UNION SELECT server_name FROM unreachable_servers UNION SELECT server_name FROM lagging_servers
    )
    SELECT server AS destination, u.failing_since_ms, u.retry_at_ms, coalesce(u.failures, 0) AS failures, u.reason,
        l.sent_position, count(*) OVER () AS total
    FROM known LEFT JOIN unreachable_servers u ON u.server_name = server
    LEFT JOIN lagging_servers l ON l.server_name = server
    WHERE server <> $1 AND ($2::text IS NULL OR strpos(server, $2) > 0)
"""
_BY_NAME = _PAGE + "ORDER BY server LIMIT $3 OFFSET $4"
_BY_NAME_DOWN = _PAGE + "ORDER BY server DESC LIMIT $3 OFFSET $4"
_BY_FAILURE = _PAGE + "ORDER BY u.failing_since_ms NULLS FIRST, server LIMIT $3 OFFSET $4"
_BY_FAILURE_DOWN = _PAGE + "ORDER BY u.failing_since_ms DESC NULLS LAST, server DESC LIMIT $3 OFFSET $4"
_BY_RETRY = _PAGE + "ORDER BY u.retry_at_ms NULLS FIRST, server LIMIT $3 OFFSET $4"
_BY_RETRY_DOWN = _PAGE + "ORDER BY u.retry_at_ms DESC NULLS LAST, server DESC LIMIT $3 OFFSET $4"
_BY_POSITION = _PAGE + "ORDER BY l.sent_position NULLS LAST, server LIMIT $3 OFFSET $4"
_BY_POSITION_DOWN = _PAGE + "ORDER BY l.sent_position DESC NULLS FIRST, server DESC LIMIT $3 OFFSET $4"
_ORDERS = {
    "destination": (_BY_NAME, _BY_NAME_DOWN),
    "failure_ts": (_BY_FAILURE, _BY_FAILURE_DOWN),
    "retry_last_ts": (_BY_RETRY, _BY_RETRY_DOWN),
    "retry_interval": (_BY_RETRY, _BY_RETRY_DOWN),
    "last_successful_stream_ordering": (_BY_POSITION, _BY_POSITION_DOWN),
}
ORDERS = frozenset(_ORDERS)
_ONE = """
    SELECT $1::text AS destination, u.failing_since_ms, u.retry_at_ms, coalesce(u.failures, 0) AS failures, u.reason,
        l.sent_position
    FROM (SELECT) AS nothing LEFT JOIN unreachable_servers u ON u.server_name = $1
    LEFT JOIN lagging_servers l ON l.server_name = $1
    WHERE u.server_name IS NOT NULL OR l.server_name IS NOT NULL OR EXISTS (
        SELECT FROM memberships WHERE substring(user_id FROM position(':' IN user_id) + 1) = $1
    )
"""
_ROOMS = """
    SELECT r.room_id, coalesce(f.newest, r.room_nid) AS stream_ordering FROM (
        SELECT DISTINCT room_nid FROM memberships
        WHERE substring(user_id FROM position(':' IN user_id) + 1) = $1 AND membership = 'join'
    ) AS theirs JOIN rooms r USING (room_nid) LEFT JOIN room_facts f USING (room_nid)
"""
_ROOMS_UP = _ROOMS + "ORDER BY r.room_id LIMIT $2 OFFSET $3"
_ROOMS_DOWN = _ROOMS + "ORDER BY r.room_id DESC LIMIT $2 OFFSET $3"
_COUNT_ROOMS = """
    SELECT count(DISTINCT room_nid) FROM memberships
    WHERE substring(user_id FROM position(':' IN user_id) + 1) = $1 AND membership = 'join'
"""


async def page(
    db: Reader, own: ServerName, *, term: str | None, order_by: str, backwards: bool, limit: int, offset: int
) -> tuple[list[DestinationRow], int]:
    """One page of the servers that share a room with this one, or did, and how many there are."""
    rows = await db.fetch(_ORDERS[order_by][backwards], own, term, limit, offset)
    return [_destination(row) for row in rows], rows[0]["total"] if rows else 0


async def one(db: Reader, server: ServerName) -> DestinationRow | None:
    """None for a server that this one never had to do with."""
    row = await db.fetchrow(_ONE, server)
    return _destination(row) if row is not None else None


async def rooms(
    db: Reader, server: ServerName, *, backwards: bool, limit: int, offset: int
) -> tuple[list[tuple[RoomId, int]], int]:
    """(room, position of its newest event) for one page of the rooms that a server is in, and how many there are."""
    rows = await db.fetch(_ROOMS_DOWN if backwards else _ROOMS_UP, server, limit, offset)
    count = int(await db.fetchval(_COUNT_ROOMS, server))
    return [(RoomId(row["room_id"]), row["stream_ordering"]) for row in rows], count


def _destination(row: Row) -> DestinationRow:
    return DestinationRow(
        destination=ServerName(row["destination"]),
        failing_since_ms=row["failing_since_ms"],
        retry_at_ms=row["retry_at_ms"],
        failures=row["failures"],
        reason=row["reason"],
        sent_position=row["sent_position"],
    )
