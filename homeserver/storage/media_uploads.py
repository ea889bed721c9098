"""The table `media_uploads`: uploads that may be interrupted and gone on with."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    media_id: str
    user_id: UserId
    length: int
    content_type: str | None
    file_name: str | None
    expires_ts: int


_INSERT = """
    INSERT INTO media_uploads (media_id, user_id, length, content_type, file_name, expires_ts)
    VALUES ($1, $2, $3, $4, $5, $6)
"""
_ONE = """
    SELECT media_id, user_id, length, content_type, file_name, expires_ts FROM media_uploads
    WHERE media_id = $1 AND expires_ts > $2
"""
_DELETE = "DELETE FROM media_uploads WHERE media_id = $1"
_EXPIRED = "SELECT media_id FROM media_uploads WHERE expires_ts <= $1 LIMIT $2"


async def insert(tx: Tx, row: UploadRow) -> None:
    await tx.execute(_INSERT, row.media_id, row.user_id, row.length, row.content_type, row.file_name, row.expires_ts)


async def one(db: Reader, media_id: str, now_ms: int) -> UploadRow | None:
    row = await db.fetchrow(_ONE, media_id, now_ms)
    return UploadRow(**row) if row else None


async def delete(tx: Tx, media_id: str) -> None:
    await tx.execute(_DELETE, media_id)


async def expired(db: Reader, now_ms: int, limit: int) -> list[str]:
    """Those whose time is over."""
    return [row["media_id"] for row in await db.fetch(_EXPIRED, now_ms, limit)]
