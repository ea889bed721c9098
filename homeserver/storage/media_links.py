"""The tables `media_links` (which events show which media) and `media_unshown` (where somebody has to look again)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

CONSUMER = "media_links"


@dataclass(frozen=True, slots=True)
class Link:
    """An event shows a medium."""

    event_nid: int
    sender: UserId
    media_id: str


_ADD = """
    INSERT INTO media_links (event_nid, media_id)
    SELECT new.event_nid, new.media_id FROM unnest($1::bigint[], $2::text[]) AS new(event_nid, media_id)
    JOIN media USING (media_id) JOIN events USING (event_nid) ON CONFLICT DO NOTHING
"""
# Only its uploader makes a medium one that is deleted when nothing shows it any more, and shows it anew.
_SHOWN = """
    UPDATE media SET was_shown = true, hidden_ts = NULL
    FROM unnest($1::text[], $2::text[]) AS shown(media_id, sender)
    WHERE media.media_id = shown.media_id AND media.user_id = shown.sender
"""
_REDACTED = """
    INSERT INTO media_unshown SELECT DISTINCT media_id FROM media_links WHERE event_nid = ANY($1::bigint[])
    ON CONFLICT DO NOTHING
"""
_REDACTED_EARLIER = """
    INSERT INTO media_unshown SELECT DISTINCT media_id FROM media_links JOIN event_erasures USING (event_nid)
    ON CONFLICT DO NOTHING
"""
_ERASED_USERS = """
    INSERT INTO media_unshown SELECT media_id FROM media JOIN users USING (user_id)
    WHERE users.erased_position IS NOT NULL AND media.hidden_ts IS NULL AND media.digest IS NOT NULL
    AND NOT EXISTS (SELECT FROM media_links l WHERE l.media_id = media.media_id)
    ON CONFLICT DO NOTHING
"""
_CANDIDATES = "SELECT media_id FROM media_unshown ORDER BY media_id LIMIT $1"
# The uploader's profile and account data count as well: pictures and packs of stickers that no event shows.
_HIDE = """
    UPDATE media m SET hidden_ts = $2 WHERE media_id = ANY($1::text[]) AND hidden_ts IS NULL
    AND (was_shown OR EXISTS (SELECT FROM users u WHERE u.user_id = m.user_id AND u.erased_position IS NOT NULL))
    AND NOT EXISTS (
        SELECT FROM media_links l JOIN events e USING (event_nid)
        WHERE l.media_id = m.media_id AND e.redacted_by IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM profiles p WHERE p.user_id = m.user_id
        AND position(convert_to('/' || m.media_id, 'UTF8') IN p.value) > 0
    )
    AND NOT EXISTS (
        SELECT FROM account_data a WHERE a.user_id = m.user_id
        AND position(convert_to('/' || m.media_id, 'UTF8') IN a.content) > 0
    )
"""
# What only such events showed is due to be deleted.
_HIDE_FOR_GOOD = """
    UPDATE media m SET hidden_ts = 0 WHERE media_id = ANY($1::text[]) AND was_shown
    AND NOT EXISTS (
        SELECT FROM media_links l JOIN events e USING (event_nid)
        WHERE l.media_id = m.media_id AND e.redacted_by IS NULL AND e.flags = 0
    )
    AND NOT EXISTS (
        SELECT FROM profiles p WHERE p.user_id = m.user_id
        AND position(convert_to('/' || m.media_id, 'UTF8') IN p.value) > 0
    )
"""
_OF_EVENTS = "SELECT DISTINCT media_id FROM media_links WHERE event_nid = ANY($1::bigint[])"
_LOOKED_AT = "DELETE FROM media_unshown WHERE media_id = ANY($1::text[])"


async def add(tx: Tx, links: Sequence[Link]) -> None:
    """Notes what events show. Ids that aren't there are passed over."""
    media_ids = [link.media_id for link in links]
    await tx.execute(_ADD, [link.event_nid for link in links], media_ids)
    await tx.execute(_SHOWN, media_ids, [link.sender for link in links])


async def redacted(tx: Tx, event_nids: Collection[int]) -> None:
    """What these events showed must be looked at."""
    await tx.execute(_REDACTED, list(event_nids))


async def redacted_earlier(tx: Tx) -> None:
    """The same for all events that were redacted and not erased yet."""
    await tx.execute(_REDACTED_EARLIER)


async def of_erased_users(tx: Tx) -> None:
    """What those who wished to be forgotten have uploaded must be looked at, where no event shows it."""
    await tx.execute(_ERASED_USERS)


async def candidates(db: Reader, limit: int) -> list[str]:
    """Media that may be shown by nothing any more."""
    return [row["media_id"] for row in await db.fetch(_CANDIDATES, limit)]


async def hide(tx: Tx, media_ids: Collection[str], now_ms: int) -> None:
    """Hides those of these that nothing shows any more."""
    await tx.execute(_HIDE, list(media_ids), now_ms)
    await tx.execute(_LOOKED_AT, list(media_ids))


async def of_events(db: Reader, event_nids: Collection[int]) -> list[str]:
    """What these events show."""
    return [row["media_id"] for row in await db.fetch(_OF_EVENTS, list(event_nids))]


async def hide_for_good(tx: Tx, media_ids: Collection[str]) -> None:
    """Hides those of these that only redacted events show; they are deleted in the next round."""
    await tx.execute(_HIDE_FOR_GOOD, list(media_ids))
