"""The table `event_erasures`: redacted events whose content is still in their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx

_DUE = """
    SELECT e.event_nid, e.json, r.version FROM event_erasures AS due
    JOIN events e USING (event_nid) JOIN rooms r USING (room_nid)
    WHERE due.redacted_ts <= $1 AND e.redacted_by IS NOT NULL ORDER BY due.redacted_ts LIMIT $2
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
    """Events redacted before a time, the oldest first."""
    rows = await db.fetch(_DUE, before_ms, limit)
    return [Due(row["event_nid"], row["json"], row["version"]) for row in rows]


async def erase(tx: Tx, redacted: Mapping[int, bytes]) -> None:
    """Puts what is left of these events (nid → canonical JSON) in the place of what they said."""
    await tx.execute(_ERASE, list(redacted), list(redacted.values()))
    await tx.execute(_UNLINK, list(redacted))
    await done(tx, redacted)


async def done(tx: Tx, event_nids: Collection[int]) -> None:
    await tx.execute(_DONE, list(event_nids))
