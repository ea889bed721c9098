"""The table `event_erasures`: redacted events whose content is still in their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId
from homeserver.storage import bodies
from homeserver.storage.database import Reader, Tx

_DUE = """
    SELECT e.event_nid, e.event_id, e.json, r.version FROM event_erasures AS due
    JOIN events e USING (event_nid) JOIN rooms r USING (room_nid)
    WHERE due.redacted_ts <= $1 AND e.redacted_by IS NOT NULL
        AND NOT EXISTS (SELECT FROM held_rooms h WHERE h.room_id = r.room_id)
        AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = e.sender)
    ORDER BY e.json = '', due.redacted_ts LIMIT $2
"""
# What replaced a redacted message says the same, so it goes with it.
_EDITS = """
    SELECT e.event_nid, e.json, r.version, r.room_id, t.redacted_by FROM events t
    JOIN event_relations l ON l.relates_to = t.event_id AND l.rel_type = 'm.replace' AND l.room_nid = t.room_nid
        AND l.sender = t.sender
    JOIN events e ON e.event_nid = l.event_nid JOIN rooms r ON r.room_nid = e.room_nid
    WHERE t.event_nid = ANY($1::bigint[]) AND e.redacted_by IS NULL AND e.key_nid IS NULL
"""
_REDACT_EDITS = """
    UPDATE events SET json = edit.json, redacted_by = edit.redacted_by
    FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS edit(event_nid, json, redacted_by)
    WHERE events.event_nid = edit.event_nid AND events.redacted_by IS NULL
"""
_ERASE = """
    UPDATE events SET json = erased.json FROM unnest($1::bigint[], $2::bytea[]) AS erased(event_nid, json)
    WHERE events.event_nid = erased.event_nid AND redacted_by IS NOT NULL
"""
_UNLINK = "DELETE FROM media_links WHERE event_nid = ANY($1::bigint[])"
_DONE = "DELETE FROM event_erasures WHERE event_nid = ANY($1::bigint[])"


@dataclass(frozen=True, slots=True)
class Due:
    """A redacted event as it was sent."""

    event_nid: int
    json: bytes
    room_version: str


async def due(db: Reader, before_ms: int, limit: int) -> list[Due]:
    """Events redacted before a time, the oldest first; none that a legal hold keeps."""
    rows = await bodies.whole(db, await db.fetch(_DUE, before_ms, limit))
    return [Due(row["event_nid"], row["json"], row["version"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of an event that a redaction was about."""

    event_nid: int
    json: bytes
    room_version: str
    room_id: RoomId
    redacted_by: int


async def edits(db: Reader, event_nids: Collection[int]) -> list[Edit]:
    """The edits of these events by their own senders that aren't redacted yet."""
    rows = await db.fetch(_EDITS, list(event_nids))
    return [
        Edit(row["event_nid"], row["json"], row["version"], RoomId(row["room_id"]), row["redacted_by"]) for row in rows
    ]


async def redact_edits(tx: Tx, found: Sequence[Edit], redacted: Sequence[bytes]) -> None:
    """Puts what is left of these edits in the place of what they said; redacted by what redacted their targets."""
    nids = [edit.event_nid for edit in found]
    await tx.execute(_REDACT_EDITS, nids, list(redacted), [edit.redacted_by for edit in found])
    await tx.execute(_UNLINK, nids)


async def erase(tx: Tx, redacted: Mapping[int, bytes]) -> None:
    """Puts what is left of these events (nid → canonical JSON) in the place of what they said."""
    await tx.execute(_ERASE, list(redacted), list(redacted.values()))
    await tx.execute(_UNLINK, list(redacted))
    await done(tx, redacted)


async def done(tx: Tx, event_nids: Collection[int]) -> None:
    await tx.execute(_DONE, list(event_nids))
