"""The tables of stored bytes: `media_files`, `media_thumbnails`, and `media_leftovers` for what belongs to neither."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class ThumbnailRow:
    """`object` is None where none can be made."""

    object: str | None
    size_bytes: int
    content_type: str


# Takes the row's lock, also where it is there already: whoever would delete it waits. One without an object is barred,
# and its bytes were deleted.
_ADD = """
    INSERT INTO media_files (digest, object, size_bytes) VALUES ($1, $2, $3)
    ON CONFLICT (digest) DO UPDATE SET
        object = CASE WHEN media_files.object = '' THEN excluded.object ELSE media_files.object END,
        size_bytes = excluded.size_bytes
    RETURNING object
"""
_LOCK = "SELECT digest FROM media_files WHERE digest = ANY($1::text[]) ORDER BY digest FOR UPDATE"
_UNUSED = """
    SELECT digest FROM media_files f WHERE digest = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM media m WHERE m.digest = f.digest)
    AND NOT EXISTS (SELECT FROM remote_media r WHERE r.digest = f.digest)
"""
_OBJECTS = """
    SELECT object FROM media_files WHERE digest = ANY($1::text[]) AND object <> ''
    UNION SELECT object FROM media_thumbnails WHERE digest = ANY($1::text[]) AND object IS NOT NULL
"""
_DELETE = "DELETE FROM media_files WHERE digest = ANY($1::text[]) AND NOT is_quarantined"
# That a content is barred outlives its bytes: it may come back under another name.
_EMPTY = "UPDATE media_files SET object = '', size_bytes = 0 WHERE digest = ANY($1::text[])"
_DELETE_THUMBNAILS = "DELETE FROM media_thumbnails WHERE digest = ANY($1::text[])"
_QUARANTINE = "UPDATE media_files SET is_quarantined = $2 WHERE digest = $1"

_THUMBNAIL = "SELECT object, size_bytes, content_type FROM media_thumbnails WHERE digest = $1 AND name = $2"
_ADD_THUMBNAIL = """
    INSERT INTO media_thumbnails (digest, name, object, size_bytes, content_type)
    SELECT digest, $2, $3, $4, $5 FROM media_files WHERE digest = $1 ON CONFLICT DO NOTHING
"""

_NOTE = """
    INSERT INTO media_leftovers (object, until_ts) SELECT object, $2 FROM unnest($1::text[]) AS object
    ON CONFLICT (object) DO UPDATE SET until_ts = excluded.until_ts
"""
_DUE = "SELECT object FROM media_leftovers WHERE until_ts <= $1 ORDER BY until_ts LIMIT $2"
_FORGET = "DELETE FROM media_leftovers WHERE object = ANY($1::text[])"


async def add(tx: Tx, digest: str, object: str, size_bytes: int) -> str:
    """The object that keeps these bytes: this one, or the one that did before."""
    kept: str = await tx.fetchval(_ADD, digest, object, size_bytes)
    return kept


async def delete_unused(tx: Tx, digests: Collection[str]) -> list[str]:
    """Deletes those of these files that no id names any more; the objects that belong to nothing then.

    Of one in quarantine stays what tells its content again.
    """
    await tx.fetch(_LOCK, list(digests))
    # A statement of its own: it sees what those have written for whom the lock was waited.
    unused = [row["digest"] for row in await tx.fetch(_UNUSED, list(digests))]
    objects = [row["object"] for row in await tx.fetch(_OBJECTS, unused)]
    await tx.execute(_DELETE, unused)
    await tx.execute(_EMPTY, unused)
    await tx.execute(_DELETE_THUMBNAILS, unused)
    return objects


async def set_quarantined(tx: Tx, digest: str, is_quarantined: bool) -> None:
    await tx.execute(_QUARANTINE, digest, is_quarantined)


async def thumbnail(db: Reader, digest: str, name: str) -> ThumbnailRow | None:
    row = await db.fetchrow(_THUMBNAIL, digest, name)
    return ThumbnailRow(row["object"], row["size_bytes"], row["content_type"]) if row else None


async def add_thumbnail(tx: Tx, digest: str, name: str, row: ThumbnailRow) -> bool:
    """False if there is one, or the file is gone."""
    done = await tx.execute(_ADD_THUMBNAIL, digest, name, row.object, row.size_bytes, row.content_type)
    return done == "INSERT 0 1"


async def note(tx: Tx, objects: Collection[str], until_ms: int) -> None:
    """Notes that these objects belong to nothing, and are to be deleted once it is so late."""
    await tx.execute(_NOTE, list(objects), until_ms)


async def due(db: Reader, now_ms: int, limit: int) -> list[str]:
    """Objects to be deleted now."""
    return [row["object"] for row in await db.fetch(_DUE, now_ms, limit)]


async def forget(tx: Tx, objects: Collection[str]) -> None:
    """They belong to something now, or are deleted."""
    await tx.execute(_FORGET, list(objects))
