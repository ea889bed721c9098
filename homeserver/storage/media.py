"""The table `media`: what was uploaded, by whom."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRow:
    """`digest` is None while the id waits for its file."""

    media_id: str
    user_id: UserId
    created_ts: int
    expires_ts: int | None = None
    digest: str | None = None
    size_bytes: int | None = None
    content_type: str | None = None
    file_name: str | None = None


_INSERT = """
    INSERT INTO media (media_id, user_id, created_ts, expires_ts, digest, size_bytes, content_type, file_name)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_ONE = """
    SELECT media_id, user_id, created_ts, expires_ts, digest, size_bytes, content_type, file_name FROM media
    WHERE media_id = $1
"""
_FILL = """
    UPDATE media SET digest = $2, size_bytes = $3, content_type = $4, file_name = $5, expires_ts = NULL
    WHERE media_id = $1 AND digest IS NULL
"""
_PENDING = "SELECT count(*) FROM media WHERE user_id = $1 AND digest IS NULL AND expires_ts > $2"
_KEPT = "SELECT coalesce(sum(size_bytes), 0) FROM media WHERE user_id = $1"


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
    return MediaRow(**row) if row else None


async def fill(
    tx: Tx, media_id: str, *, digest: str, size_bytes: int, content_type: str, file_name: str | None
) -> bool:
    """False if the id has its file already."""
    return (await tx.execute(_FILL, media_id, digest, size_bytes, content_type, file_name)) == "UPDATE 1"


async def pending(db: Reader, user_id: UserId, now_ms: int) -> int:
    """How many ids of this user wait for a file."""
    return int(await db.fetchval(_PENDING, user_id, now_ms))


async def kept_bytes(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_KEPT, user_id))
