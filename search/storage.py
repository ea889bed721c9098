"""What the indexer reads of the events, its cursor, and what an index wouldn't take."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from homeserver.storage.database import Reader, Tx
from homeserver.storage.events import StoredEvent
from search.tiers import Refused

_AFTER = """
    SELECT event_nid FROM events
    WHERE event_nid > $1 AND event_nid <= $2 AND ordering IS NOT NULL AND flags = 0 ORDER BY event_nid LIMIT $3
"""
# How often an event was edited never falls, whatever became of the edits.
_RECEIVED = """
    SELECT event_nid, coalesce(received_ms, origin_server_ts) AS received_ms, (
        SELECT count(*) FROM event_relations r WHERE r.relates_to = e.event_id AND r.rel_type = 'm.replace'
    ) AS edits
    FROM events e WHERE event_nid = ANY($1::bigint[])
"""
# What was written a moment ago, as it was then: neither redacted nor edited nor moved.
_UNCHANGED = """
    SELECT e.event_nid, coalesce(e.received_ms, e.origin_server_ts) AS received_ms
    FROM unnest($1::bigint[], $2::bigint[]) AS written(nid, place)
    JOIN events e ON e.event_nid = written.nid AND e.ordering = written.place
    WHERE e.flags = 0 AND e.redacted_by IS NULL AND NOT EXISTS (
        SELECT FROM event_relations r WHERE r.relates_to = e.event_id AND r.rel_type = 'm.replace'
    )
"""
# An edit concerns the event that it is of; what it refers to is known even when it was redacted.
_CONCERNED = """
    SELECT coalesce(r.relates_to, e.event_id) AS event_id FROM events e
    LEFT JOIN event_relations r ON r.event_nid = e.event_nid AND r.rel_type = 'm.replace'
    WHERE e.event_nid = ANY($1::bigint[]) OR e.event_id = ANY($2::text[])
"""
_SENDERS = "SELECT sender, count(*) AS events FROM events WHERE event_nid = ANY($1::bigint[]) GROUP BY sender"
_NOT_SHOWN = """
    SELECT asked.nid FROM unnest($1::bigint[]) AS asked(nid) LEFT JOIN events e ON e.event_nid = asked.nid
    WHERE e.event_nid IS NULL OR e.redacted_by IS NOT NULL OR e.flags <> 0
"""
_RESET = "DELETE FROM journal_cursors WHERE consumer = $1"
_FORGET_LETTERS = "DELETE FROM search_dead_letters WHERE consumer = $1"
_TAKEN = "DELETE FROM search_dead_letters WHERE consumer = $1 AND event_id = ANY($2::text[])"
_REFUSED = """
    INSERT INTO search_dead_letters (consumer, event_id, reason, noted_ms)
    SELECT $1, event_id, reason, $4 FROM unnest($2::text[], $3::text[]) AS refused (event_id, reason)
    ON CONFLICT (consumer, event_id) DO UPDATE SET reason = excluded.reason, noted_ms = excluded.noted_ms
"""
_COUNT_LETTERS = "SELECT count(*) FROM search_dead_letters WHERE consumer = $1"
_LETTERS = """
    SELECT event_id, reason, noted_ms FROM search_dead_letters WHERE consumer = $1
    ORDER BY noted_ms DESC, event_id LIMIT $2
"""


async def after(db: Reader, position: int, upto: int, limit: int) -> list[int]:
    """The numbers of timeline events with position < number <= upto, in order: for catching up."""
    return [row["event_nid"] for row in await db.fetch(_AFTER, position, upto, limit)]


async def received(db: Reader, nids: Collection[int]) -> dict[int, tuple[int, int]]:
    """Number → when the event came here, in milliseconds; and how many events say that they edit it."""
    rows = await db.fetch(_RECEIVED, list(nids))
    return {row["event_nid"]: (row["received_ms"], row["edits"]) for row in rows}


async def unchanged(db: Reader, written: Collection[StoredEvent]) -> dict[int, int]:
    """Of these those that are as they were written, with when they came here, in milliseconds."""
    rows = await db.fetch(_UNCHANGED, [one.nid for one in written], [one.ordering for one in written])
    return {row["event_nid"]: row["received_ms"] for row in rows}


async def concerned(db: Reader, nids: Collection[int], event_ids: Collection[str]) -> list[str]:
    """The ids of these events; of edits, those of the events that they change."""
    return [row["event_id"] for row in await db.fetch(_CONCERNED, list(nids), list(event_ids))]


async def senders(db: Reader, nids: Collection[int]) -> dict[str, int]:
    """Who sent how many of these events."""
    return {row["sender"]: row["events"] for row in await db.fetch(_SENDERS, list(nids))}


async def not_shown(db: Reader, nids: Collection[int]) -> set[int]:
    """Those of these events that are redacted, or gone, whatever an index still has of them."""
    return {row["nid"] for row in await db.fetch(_NOT_SHOWN, list(nids))}


async def reset(tx: Tx, consumer: str) -> None:
    """The index begins anew."""
    await tx.execute(_RESET, consumer)
    await tx.execute(_FORGET_LETTERS, consumer)


async def note_letters(tx: Tx, consumer: str, taken: Collection[str], refused: Sequence[Refused], now_ms: int) -> None:
    """What became of these events: those taken are dead letters no more, those refused are."""
    await tx.execute(_TAKEN, consumer, list(taken))
    ids, reasons = [one.event_id for one in refused], [one.reason for one in refused]
    await tx.execute(_REFUSED, consumer, ids, reasons, now_ms)


async def count_letters(db: Reader, consumer: str) -> int:
    return int(await db.fetchval(_COUNT_LETTERS, consumer))


async def letters(db: Reader, consumer: str, limit: int) -> list[tuple[str, str, int]]:
    """Event id, reason and when it was noted (ms), the newest first."""
    rows = await db.fetch(_LETTERS, consumer, limit)
    return [(row["event_id"], row["reason"], row["noted_ms"]) for row in rows]
