"""Redacting what one user said in a room, page by page."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Database, Reader, Tx

CONSUMER = "ban_redactions"

# Of the newest events before a place those that are the user's messages. `place` is where the page ends.
_REDACT_PAGE = """
    WITH page AS (
        SELECT event_nid, ordering, sender, key_nid, redacted_by FROM events
        WHERE room_nid = $1 AND ordering < $4 AND ordering > $6 ORDER BY ordering DESC LIMIT $5
    ), redacted AS (
        UPDATE events SET redacted_by = $3 FROM page
        WHERE events.event_nid = page.event_nid AND page.sender = $2 AND page.key_nid IS NULL
            AND page.redacted_by IS NULL
        RETURNING events.event_nid
    ), due AS (
        INSERT INTO event_erasures (event_nid) SELECT event_nid FROM redacted ON CONFLICT DO NOTHING
    )
    SELECT (SELECT min(ordering) FROM page) AS place, (SELECT count(*) FROM page) AS seen,
        ARRAY(SELECT event_nid FROM redacted) AS redacted
"""
_CURSOR = "SELECT position FROM journal_cursors WHERE consumer = $1"
_SET_CURSOR = """
    INSERT INTO journal_cursors (consumer, position) VALUES ($1, $2)
    ON CONFLICT (consumer) DO UPDATE SET position = greatest(journal_cursors.position, excluded.position)
"""


async def redact_page(
    tx: Tx, room_nid: int, user_id: UserId, by: int, span: tuple[int, int], limit: int
) -> tuple[int | None, list[int]]:
    """`span`: after and before which places. (Where the next page ends, None at the end; what was redacted now)."""
    after, before = span
    row = await tx.fetchrow(_REDACT_PAGE, room_nid, user_id, by, before, limit, after)
    assert row is not None
    return (row["place"] if row["seen"] == limit else None), list(row["redacted"])


async def cursor(db: Reader) -> int:
    """The position up to which all bans were looked at."""
    return int(await db.fetchval(_CURSOR, CONSUMER) or 0)


async def set_cursor(db: Database, position: int) -> None:
    await db.execute(_SET_CURSOR, CONSUMER, position)
