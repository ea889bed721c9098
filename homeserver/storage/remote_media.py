"""The table `remote_media`: files of other servers that are kept here for a while."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx
from homeserver.storage.media import MediaRow

_ONE = """
    SELECT r.media_id, r.fetched_ts, r.used_ts, r.digest, r.size_bytes, r.content_type, r.file_name, f.object,
        f.is_quarantined
    FROM remote_media r JOIN media_files f USING (digest) WHERE r.server_name = $1 AND r.media_id = $2
"""
_INSERT = """
    INSERT INTO remote_media (
        server_name, media_id, digest, size_bytes, content_type, file_name, fetched_ts, used_ts
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING
"""
_USED = "UPDATE remote_media SET used_ts = $3 WHERE server_name = $1 AND media_id = $2"
_KEPT = "SELECT coalesce(sum(greatest(size_bytes, $1)), 0) FROM remote_media"
# What is quarantined stays: fetched anew, it would be so no more.
_DELETE_UNUSED = """
    DELETE FROM remote_media WHERE (server_name, media_id) IN (
        SELECT server_name, media_id FROM remote_media JOIN media_files USING (digest)
        WHERE used_ts < $1 AND NOT is_quarantined ORDER BY used_ts LIMIT $2
    ) RETURNING digest, size_bytes
"""
_DELETE_OLDEST = """
    DELETE FROM remote_media WHERE (server_name, media_id) IN (
        SELECT server_name, media_id FROM remote_media JOIN media_files USING (digest)
        WHERE NOT is_quarantined ORDER BY used_ts LIMIT $1
    ) RETURNING digest, size_bytes
"""


async def one(db: Reader, server_name: str, media_id: str) -> tuple[MediaRow, int] | None:
    """A file as those of this server are described, and when it was last used."""
    row = await db.fetchrow(_ONE, server_name, media_id)
    if row is None:
        return None
    found = MediaRow(
        media_id=row["media_id"],
        user_id=UserId(""),
        created_ts=row["fetched_ts"],
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        content_type=row["content_type"],
        file_name=row["file_name"],
        object=row["object"],
        is_quarantined=row["is_quarantined"],
    )
    return found, row["used_ts"]


async def insert(tx: Tx, server_name: str, row: MediaRow) -> None:
    await tx.execute(
        _INSERT, server_name, row.media_id, row.digest, row.size_bytes, row.content_type, row.file_name, row.created_ts
    )


async def used(tx: Tx, server_name: str, media_id: str, now_ms: int) -> None:
    await tx.execute(_USED, server_name, media_id, now_ms)


async def kept_bytes(db: Reader, least: int) -> int:
    """What all of them take, each at least so many bytes. Reads all rows: about 0.1 s for a million."""
    return int(await db.fetchval(_KEPT, least))


async def delete_unused(tx: Tx, before_ms: int, limit: int) -> tuple[set[str], int]:
    """Deletes some that nobody has asked for since a time: the digests they named, and how many bytes that is."""
    rows = await tx.fetch(_DELETE_UNUSED, before_ms, limit)
    return {row["digest"] for row in rows}, sum(row["size_bytes"] for row in rows)


async def delete_oldest(tx: Tx, limit: int, least: int) -> tuple[set[str], int]:
    """The same for those that were asked for longest ago, each counted as at least so many bytes."""
    rows = await tx.fetch(_DELETE_OLDEST, limit)
    return {row["digest"] for row in rows}, sum(max(row["size_bytes"], least) for row in rows)
