"""What one user said in a room, page by page from the newest back."""

from __future__ import annotations

from homeserver.core.identifiers import EventId, UserId
from homeserver.storage.database import Reader

# Of the newest events before a place those that the user sent: messages, and their own coming and going.
_PAGE = """
    WITH page AS (
        SELECT event_nid, ordering, event_id, sender, key_nid, redacted_by FROM events
        WHERE room_nid = $1 AND ordering < $2 ORDER BY ordering DESC LIMIT $4
    )
    SELECT (SELECT min(ordering) FROM page) AS place, (SELECT count(*) FROM page) AS seen,
        ARRAY(
            SELECT p.event_id FROM page p LEFT JOIN state_keys k ON k.key_nid = p.key_nid
            WHERE p.sender = $3 AND p.redacted_by IS NULL
                AND (p.key_nid IS NULL OR (k.type = 'm.room.member' AND k.state_key = $3))
            ORDER BY p.ordering DESC
        ) AS event_ids
"""


async def page(db: Reader, room_nid: int, user_id: UserId, before: int, limit: int) -> tuple[int | None, list[EventId]]:
    """(where the next page begins, None at the end; what of these events the user sent and nobody redacted)."""
    row = await db.fetchrow(_PAGE, room_nid, before, user_id, limit)
    assert row is not None
    return (row["place"] if row["seen"] == limit else None), [EventId(one) for one in row["event_ids"]]
