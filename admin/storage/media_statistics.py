"""How many files each user keeps here, and how large they are together."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUse:
    """Of one user. `bytes` is what they uploaded, also where two users' files are kept once."""

    user_id: UserId
    displayname: str | None
    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUseFilter:
    """Times in milliseconds; `until_ts` is included."""

    from_ts: int = 0
    until_ts: int | None = None
    term: str | None = None


_USED = """
    SELECT m.user_id, p.value AS displayname, count(*) AS count, coalesce(sum(m.size_bytes), 0)::bigint AS bytes
    FROM media m LEFT JOIN profiles p ON p.user_id = m.user_id AND p.field = 'displayname'
    WHERE m.digest IS NOT NULL AND m.created_ts >= $1 AND ($2::bigint IS NULL OR m.created_ts <= $2)
        AND ($3::text IS NULL OR strpos(lower(m.user_id), lower($3)) > 0
            OR strpos(lower(convert_from(p.value, 'UTF8')), lower($3)) > 0)
    GROUP BY m.user_id, p.value
"""
_COUNT = f"SELECT count(*) FROM ({_USED}) AS used"
_NUMBER = "CASE $4 WHEN 'media_length' THEN bytes WHEN 'media_count' THEN count END"
_TEXT = "CASE $4 WHEN 'displayname' THEN convert_from(displayname, 'UTF8') WHEN 'user_id' THEN user_id END"
_UP = f"""
    SELECT * FROM ({_USED}) AS used ORDER BY {_NUMBER} ASC, {_TEXT} ASC NULLS FIRST, user_id LIMIT $5 OFFSET $6
"""
_DOWN = f"""
    SELECT * FROM ({_USED}) AS used ORDER BY {_NUMBER} DESC, {_TEXT} DESC NULLS LAST, user_id LIMIT $5 OFFSET $6
"""


async def page(
    db: Reader, wanted: MediaUseFilter, *, order: str, backwards: bool, limit: int, offset: int
) -> tuple[list[MediaUse], int]:
    """Users with files, from `offset` on, and how many there are in all. Reads all rows of `media`."""
    values = (wanted.from_ts, wanted.until_ts, wanted.term)
    total: int = await db.fetchval(_COUNT, *values)
    rows = await db.fetch(_DOWN if backwards else _UP, *values, order, limit, offset)
    found = []
    for row in rows:
        name = orjson.loads(row["displayname"]) if row["displayname"] is not None else None
        found.append(MediaUse(user_id=row["user_id"], displayname=name, count=row["count"], bytes=row["bytes"]))
    return found, total
