"""What the indexer reads of the events, and its cursor."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.storage.database import Reader, Tx

CONSUMER = "search"

_AFTER = """
    SELECT event_nid FROM events
    WHERE event_nid > $1 AND event_nid <= $2 AND ordering IS NOT NULL AND flags = 0 ORDER BY event_nid LIMIT $3
"""
_RECEIVED = """
    SELECT event_nid, coalesce(received_ms, origin_server_ts) AS received_ms FROM events
    WHERE event_nid = ANY($1::bigint[])
"""
# An edit concerns the event that it is of; what it refers to is known even when it was redacted.
_CONCERNED = """
    SELECT coalesce(r.relates_to, e.event_id) AS event_id FROM events e
    LEFT JOIN event_relations r ON r.event_nid = e.event_nid AND r.rel_type = 'm.replace'
    WHERE e.event_nid = ANY($1::bigint[]) OR e.event_id = ANY($2::text[])
"""
_SENDERS = "SELECT sender, count(*) AS events FROM events WHERE event_nid = ANY($1::bigint[]) GROUP BY sender"
_RESET = "DELETE FROM journal_cursors WHERE consumer = $1"


async def after(db: Reader, position: int, upto: int, limit: int) -> list[int]:
    """The numbers of timeline events with position < number <= upto, in order: for catching up."""
    return [row["event_nid"] for row in await db.fetch(_AFTER, position, upto, limit)]


async def received(db: Reader, nids: Collection[int]) -> dict[int, int]:
    """Number → when the event came here, in milliseconds."""
    return {row["event_nid"]: row["received_ms"] for row in await db.fetch(_RECEIVED, list(nids))}


async def concerned(db: Reader, nids: Collection[int], event_ids: Collection[str]) -> list[str]:
    """The ids of these events; of edits, those of the events that they change."""
    return [row["event_id"] for row in await db.fetch(_CONCERNED, list(nids), list(event_ids))]


async def senders(db: Reader, nids: Collection[int]) -> dict[str, int]:
    """Who sent how many of these events."""
    return {row["sender"]: row["events"] for row in await db.fetch(_SENDERS, list(nids))}


async def reset(tx: Tx) -> None:
    """The index begins anew."""
    await tx.execute(_RESET, CONSUMER)
