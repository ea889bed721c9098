"""What the tables of all parts say of one event, and which events came at a time. Nothing here writes."""

from __future__ import annotations

from typing import Any

import orjson

from homeserver.storage.bodies import whole
from homeserver.storage.database import Reader, Row

DESTINATIONS_MAX = 1_000
# Events at a time are looked for among so many that came from then on.
LOOKED_THROUGH = 5_000

_EVENT = """
    SELECT e.event_nid, e.event_id, r.room_id, r.room_nid, r.version, e.sender, e.device_id, e.origin_server_ts,
        coalesce(e.received_ms, e.origin_server_ts) AS received_ms, e.ordering, e.depth, e.state_nid, e.flags, e.json,
        f.reason, b.event_id AS redacted_by
    FROM events e JOIN rooms r USING (room_nid) LEFT JOIN event_refusals f USING (event_nid)
        LEFT JOIN events b ON b.event_nid = e.redacted_by
    WHERE e.event_id = $1
"""
_STAGED = "SELECT room_id, origin, received_ms, tries, due_ms FROM staged_pdus WHERE event_id = $1 LIMIT 1"
# What was judged before the event had an id is known by who, where and when.
_DECISIONS = """
    SELECT decision_id, decided_ts, rule_id, rule_version, stage, outcome, hook, event_id = $2 AS is_certain, undone_ts
    FROM spam_decisions
    WHERE sender = $1 AND (
        event_id = $2 OR (event_id = '' AND room_id = $3 AND decided_ts BETWEEN $4::bigint - 2000 AND $4::bigint + 2000)
    )
    ORDER BY decision_id LIMIT 50
"""
_CONSUMERS = "SELECT consumer, position FROM journal_cursors ORDER BY consumer"
_PUSHES = """
    SELECT p.user_id, p.app_id, p.decided_ts, g.failures, g.retry_ts
    FROM pushes p LEFT JOIN pushers g USING (user_id, app_id, pushkey) WHERE p.event_nid = $1 LIMIT 100
"""
_DESTINATIONS = """
    SELECT t.server, l.sent_position, u.failing_since_ms, u.retry_at_ms, u.failures, u.reason FROM (
        SELECT DISTINCT substring(user_id FROM position(':' IN user_id) + 1) AS server FROM memberships
        WHERE room_nid = $1 AND membership = 'join' LIMIT $2
    ) AS t LEFT JOIN lagging_servers l ON l.server_name = t.server
        LEFT JOIN unreachable_servers u ON u.server_name = t.server
    WHERE t.server <> $3 ORDER BY t.server
"""
# Where the events that came from a time on begin: halving the span of all numbers, a look at the index each time.
_AT = """
    WITH RECURSIVE span (low, high) AS (
        SELECT (SELECT min(event_nid) FROM events), (SELECT max(event_nid) FROM events)
        UNION ALL
        SELECT CASE WHEN e.ts < $1 THEN e.event_nid + 1 ELSE s.low END,
            CASE WHEN e.ts < $1 THEN s.high ELSE (s.low + s.high) / 2 - 1 END
        FROM span s, LATERAL (
            SELECT event_nid, coalesce(received_ms, origin_server_ts) AS ts FROM events
            WHERE event_nid >= (s.low + s.high) / 2 ORDER BY event_nid LIMIT 1
        ) AS e WHERE s.low <= s.high
    )
    SELECT e.event_id, r.room_id, e.sender, e.received_ms, e.flags, e.json FROM (
        SELECT event_id, room_nid, sender, coalesce(received_ms, origin_server_ts) AS received_ms, flags, json,
            event_nid
        FROM events WHERE event_nid >= (SELECT max(low) FROM span) ORDER BY event_nid LIMIT $2
    ) AS e JOIN rooms r USING (room_nid)
    WHERE ($3 = '' OR e.sender = $3 OR r.room_id = $3) AND ($5::text[] IS NULL OR r.room_id = ANY($5))
    ORDER BY e.event_nid LIMIT $4
"""


async def event(db: Reader, event_id: str) -> dict[str, Any] | None:
    """The event's row, with its source as `source`."""
    row = next(iter(await whole(db, await db.fetch(_EVENT, event_id))), None)
    if row is None:
        return None
    shown = dict(row)
    shown["source"] = orjson.loads(shown.pop("json"))
    return shown


async def staged(db: Reader, event_id: str) -> Row | None:
    """An event of another server that waits for what came before it."""
    return await db.fetchrow(_STAGED, event_id)


async def decisions(db: Reader, sender: str, event_id: str, room_id: str, at_ms: int) -> list[Row]:
    """What spam rules decided about it."""
    return await db.fetch(_DECISIONS, sender, event_id, room_id, at_ms)


async def consumers(db: Reader) -> dict[str, int]:
    """How far each durable consumer of the journal has come."""
    return {row["consumer"]: row["position"] for row in await db.fetch(_CONSUMERS)}


async def pushes(db: Reader, event_nid: int) -> list[Row]:
    """Notifications of it that aren't delivered yet."""
    return await db.fetch(_PUSHES, event_nid)


async def destinations(db: Reader, room_nid: int, own: str) -> list[Row]:
    """The servers in the room, with how far each is."""
    return await db.fetch(_DESTINATIONS, room_nid, DESTINATIONS_MAX, own)


async def since(
    db: Reader, at_ms: int, about: str, limit: int, rooms: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """The first events that came from a time on; `about` a user or room, or empty; with `rooms` in these alone."""
    within = list(rooms) if rooms is not None else None
    rows = await whole(db, await db.fetch(_AT, at_ms, LOOKED_THROUGH, about, limit, within))
    return [{**row, "type": orjson.loads(row["json"]).get("type", "")} for row in rows]
