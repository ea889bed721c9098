"""The table `url_previews`: what pages say of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """`preview` is None where the page has none."""

    url_hash: bytes
    fetched_ts: int
    expires_ts: int
    preview: bytes | None
    media_id: str | None


_ONE = """
    SELECT url_hash, fetched_ts, expires_ts, preview, media_id FROM url_previews WHERE url_hash = $1 AND expires_ts > $2
"""
# The picture of the preview that is replaced goes with it.
_PUT = """
    WITH earlier AS (SELECT media_id FROM url_previews WHERE url_hash = $1)
    INSERT INTO url_previews (url_hash, fetched_ts, expires_ts, preview, media_id) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (url_hash) DO UPDATE SET fetched_ts = excluded.fetched_ts, expires_ts = excluded.expires_ts,
        preview = excluded.preview, media_id = excluded.media_id
    RETURNING (SELECT media_id FROM earlier) AS replaced
"""
_PICTURES_BYTES = "SELECT coalesce(sum(m.size_bytes), 0) FROM url_previews p JOIN media m USING (media_id)"
_DELETE = """
    DELETE FROM url_previews WHERE url_hash IN (
        SELECT url_hash FROM url_previews WHERE expires_ts <= $1
        UNION SELECT * FROM (SELECT url_hash FROM url_previews ORDER BY expires_ts DESC OFFSET $2 LIMIT $3) AS too_many
        LIMIT $3
    ) RETURNING media_id
"""
_DELETE_TOO_LARGE = """
    DELETE FROM url_previews WHERE url_hash IN (
        SELECT url_hash FROM (
            SELECT url_hash, sum(m.size_bytes) OVER (ORDER BY p.expires_ts DESC, p.url_hash) AS size_bytes
            FROM url_previews p JOIN media m USING (media_id)
        ) AS too_large WHERE size_bytes > $1
        LIMIT $2
    ) RETURNING media_id
"""


async def one(db: Reader, url_hash: bytes, now_ms: int) -> PreviewRow | None:
    """What is known of a page and is fresh enough."""
    row = await db.fetchrow(_ONE, url_hash, now_ms)
    return PreviewRow(**row) if row else None


async def put(tx: Tx, row: PreviewRow) -> str | None:
    """Keeps it; the picture of the one it replaces, which nothing shows any more."""
    replaced: str | None = await tx.fetchval(
        _PUT, row.url_hash, row.fetched_ts, row.expires_ts, row.preview, row.media_id
    )
    return replaced


async def pictures_bytes(db: Reader) -> int:
    """What all their pictures take."""
    return int(await db.fetchval(_PICTURES_BYTES))


async def delete_old(tx: Tx, before_ms: int, most: int, limit: int, bytes_max: int) -> tuple[int, list[str]]:
    """Deletes some of those that expired before a time, or are more than there may be: how many, and their pictures.

    More than there may be are those beyond `most`. Where pictures take more than `bytes_max`, so many of the oldest go
    that there is room for a while.
    """
    rows = await tx.fetch(_DELETE, before_ms, most, limit)
    if len(rows) < limit and await pictures_bytes(tx) >= bytes_max:
        rows += await tx.fetch(_DELETE_TOO_LARGE, bytes_max * 3 // 4, limit - len(rows))
    return len(rows), [row["media_id"] for row in rows if row["media_id"] is not None]
