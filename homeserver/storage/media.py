"""The table `media`: what was uploaded, by whom. The bytes are in `media_files`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRow:
    """`digest` is None while the id waits for its file. `object` is where the bytes are."""

    media_id: str
    user_id: UserId
    created_ts: int
    expires_ts: int | None = None
    digest: str | None = None
    size_bytes: int | None = None
    content_type: str | None = None
    file_name: str | None = None
    hidden_ts: int | None = None
    object: str | None = None
    is_quarantined: bool = False


_INSERT = """
    INSERT INTO media (media_id, user_id, created_ts, expires_ts, digest, size_bytes, content_type, file_name)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_ONE = """
    SELECT m.media_id, m.user_id, m.created_ts, m.expires_ts, m.digest, m.size_bytes, m.content_type, m.file_name,
        m.hidden_ts, f.object, coalesce(f.is_quarantined, false) AS is_quarantined
    FROM media m LEFT JOIN media_files f USING (digest) WHERE m.media_id = $1
"""
_FILL = """
    UPDATE media SET digest = $2, size_bytes = $3, content_type = $4, file_name = $5, expires_ts = NULL
    WHERE media_id = $1 AND digest IS NULL AND (expires_ts IS NULL OR expires_ts > $6)
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('media ' || $1, 0))"
_PENDING = "SELECT count(*) FROM media WHERE user_id = $1 AND digest IS NULL AND expires_ts > $2"
_KEPT = "SELECT coalesce(sum(size_bytes), 0) FROM media WHERE user_id = $1"
_DELETE_EXPIRED = "DELETE FROM media WHERE digest IS NULL AND expires_ts <= $1"
# What somebody held has uploaded stays, and what an event of a held room shows.
HELD = """
    EXISTS (SELECT FROM held_users h WHERE h.user_id = m.user_id)
    OR EXISTS (
        SELECT FROM held_rooms JOIN rooms r USING (room_id)
        JOIN events e USING (room_nid) JOIN media_links l USING (event_nid) WHERE l.media_id = m.media_id
    )
"""
_DELETE = f"DELETE FROM media m WHERE media_id = ANY($1::text[]) AND NOT ({HELD}) RETURNING digest"
_HELD_OF = f"SELECT media_id FROM media m WHERE media_id = ANY($1::text[]) AND ({HELD})"
_HIDDEN = f"SELECT media_id FROM media m WHERE hidden_ts <= $1 AND NOT ({HELD}) ORDER BY hidden_ts LIMIT $2"


async def insert(tx: Tx, row: MediaRow) -> None:
    await tx.execute(
        _INSERT,
        row.media_id,
        row.user_id,
        row.created_ts,
        row.expires_ts,
        row.digest,
        row.size_bytes,
        row.content_type,
        row.file_name,
    )


async def one(db: Reader, media_id: str) -> MediaRow | None:
    row = await db.fetchrow(_ONE, media_id)
    return _media(row) if row else None


async def fill(
    tx: Tx, media_id: str, *, digest: str, size_bytes: int, content_type: str, file_name: str | None, now_ms: int
) -> bool:
    """False if the id has its file already, or has expired."""
    done = await tx.execute(_FILL, media_id, digest, size_bytes, content_type, file_name, now_ms)
    return done == "UPDATE 1"


async def lock(tx: Tx, user_id: UserId) -> None:
    """Makes others who would add to what this user keeps wait until the transaction ends."""
    await tx.execute(_LOCK, user_id)


async def pending(db: Reader, user_id: UserId, now_ms: int) -> int:
    """How many ids of this user wait for a file."""
    return int(await db.fetchval(_PENDING, user_id, now_ms))


async def kept_bytes(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_KEPT, user_id))


async def delete_expired(tx: Tx, now_ms: int) -> None:
    """Deletes the ids whose time to be filled is over."""
    await tx.execute(_DELETE_EXPIRED, now_ms)


async def delete(tx: Tx, media_ids: Collection[str]) -> set[str]:
    """Deletes ids, but for those that are held; the digests of the files that they named."""
    rows = await tx.fetch(_DELETE, list(media_ids))
    return {row["digest"] for row in rows if row["digest"] is not None}


async def held(db: Reader, media_ids: Collection[str]) -> set[str]:
    """Those of these that a legal hold keeps."""
    return {row["media_id"] for row in await db.fetch(_HELD_OF, list(media_ids))}


async def hidden(db: Reader, before_ms: int, limit: int) -> list[str]:
    """Ids that nothing has shown since a time, those hidden longest first; none that is held."""
    return [row["media_id"] for row in await db.fetch(_HIDDEN, before_ms, limit)]


def _media(row: Row) -> MediaRow:
    return MediaRow(**row)
