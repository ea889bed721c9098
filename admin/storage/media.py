"""Media as operators look at it, bar it and delete it: `media`, `remote_media`, `media_files`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage import bodies
from homeserver.storage.database import Reader, Row, Tx
from homeserver.storage.media import HELD

_BODIES_AT_ONCE = 1_000
_NAMED = re.compile(r"mxc://([A-Za-z0-9.:-]{1,255})/([0-9A-Za-z_-]{1,255})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """One file under one id. `user_id` is None for those of other servers; times in milliseconds."""

    origin: str
    media_id: str
    user_id: UserId | None
    created_ts: int
    last_access_ts: int | None
    media_length: int | None
    media_type: str | None
    upload_name: str | None
    quarantined_by: str | None
    is_protected: bool
    digest: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A file was quarantined, or let out again."""

    change_nid: int
    origin: str
    media_id: str
    is_quarantined: bool


_LOCAL = """
    SELECT $1::text AS origin, m.media_id, m.user_id, m.created_ts, NULL::bigint AS last_access_ts,
        m.size_bytes AS media_length, m.content_type AS media_type, m.file_name AS upload_name,
        CASE WHEN f.is_quarantined THEN coalesce(f.quarantined_by, '') END AS quarantined_by, m.is_protected, m.digest
    FROM media m LEFT JOIN media_files f USING (digest)
"""
_LOCAL_ONE = _LOCAL + "WHERE m.media_id = $2"
_REMOTE_ONE = """
    SELECT r.server_name AS origin, r.media_id, NULL::text AS user_id, r.fetched_ts AS created_ts,
        r.used_ts AS last_access_ts, r.size_bytes AS media_length, r.content_type AS media_type,
        r.file_name AS upload_name, CASE WHEN f.is_quarantined THEN coalesce(f.quarantined_by, '') END
        AS quarantined_by, false AS is_protected, r.digest
    FROM remote_media r JOIN media_files f USING (digest) WHERE r.server_name = $1 AND r.media_id = $2
"""
# A column's name can't be a parameter: only these are ever put in.
ORDERS: Mapping[str, str] = {
    "created_ts": "m.created_ts",
    "media_id": "m.media_id",
    "upload_name": "m.file_name",
    "last_access_ts": "m.created_ts",
    "media_length": "m.size_bytes",
    "media_type": "m.content_type",
    "quarantined_by": "f.quarantined_by",
    "safe_from_quarantine": "m.is_protected",
}
_OF_USER = _LOCAL + (
    "WHERE m.user_id = $2 AND m.digest IS NOT NULL ORDER BY {order} {direction}, m.media_id LIMIT $3 OFFSET $4"
)
_COUNT_OF_USER = "SELECT count(*) FROM media WHERE user_id = $1 AND digest IS NOT NULL"
_IDS_OF_USER = "SELECT media_id FROM media WHERE user_id = $1 AND digest IS NOT NULL ORDER BY media_id LIMIT $2"
_OLD = f"""
    SELECT m.media_id FROM media m
    WHERE m.digest IS NOT NULL AND m.created_ts < $1 AND m.size_bytes > $2 AND NOT ({HELD})
        AND NOT ($3 AND (
            EXISTS (SELECT FROM profiles p WHERE position(convert_to('/' || m.media_id, 'UTF8') IN p.value) > 0
                AND p.user_id = m.user_id)
            OR EXISTS (SELECT FROM room_overviews o WHERE right(o.avatar, length(m.media_id) + 1) = '/' || m.media_id)
        ))
    ORDER BY m.created_ts LIMIT $4
"""
# Of the newest events of a room, those that name media.
_SHOWN_IN_ROOM = """
    SELECT DISTINCT found[1] AS origin, found[2] AS media_id FROM (
        SELECT json FROM events WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1)
            AND ordering IS NOT NULL ORDER BY ordering DESC LIMIT $2
    ) AS newest,
    regexp_matches(convert_from(json, 'UTF8'), 'mxc://([A-Za-z0-9.:-]{1,255})/([0-9A-Za-z_-]{1,255})', 'g') AS found
    WHERE position('mxc://'::bytea IN json) > 0
"""
# Those among them that say it in the archive.
_ELSEWHERE_IN_ROOM = """
    SELECT event_nid, event_id FROM (
        SELECT event_nid, event_id, json FROM events
        WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1)
            AND ordering IS NOT NULL ORDER BY ordering DESC LIMIT $2
    ) AS newest WHERE json = ''
"""
_LINKED = "SELECT DISTINCT media_id FROM media_links WHERE event_nid = ANY($1::bigint[])"
_DIGESTS = """
    SELECT digest, $1::text AS origin, media_id FROM media
    WHERE media_id = ANY($2::text[]) AND digest IS NOT NULL AND NOT (is_protected AND $3)
"""
_REMOTE_DIGESTS = """
    SELECT r.digest, r.server_name AS origin, r.media_id FROM unnest($1::text[], $2::text[]) AS w(server_name, media_id)
    JOIN remote_media r USING (server_name, media_id)
    WHERE NOT ($3 AND EXISTS (SELECT FROM media m WHERE m.digest = r.digest AND m.is_protected))
"""
_QUARANTINE = """
    UPDATE media_files SET is_quarantined = $2, quarantined_by = CASE WHEN $2 THEN $3::text END
    WHERE digest = ANY($1::text[]) AND is_quarantined <> $2
"""
_NOTE = """
    INSERT INTO media_quarantine_changes (changed_ts, origin, media_id, is_quarantined, changed_by)
    SELECT $3, named.origin, named.media_id, $4, $5 FROM unnest($1::text[], $2::text[]) AS named(origin, media_id)
"""
_CHANGES = """
    SELECT change_nid, origin, media_id, is_quarantined FROM media_quarantine_changes
    WHERE change_nid > $1 ORDER BY change_nid LIMIT $2
"""
_PROTECT = "UPDATE media SET is_protected = $2 WHERE media_id = $1 RETURNING media_id"
_DELETE_REMOTE = """
    DELETE FROM remote_media r USING unnest($1::text[], $2::text[]) AS w(server_name, media_id)
    WHERE r.server_name = w.server_name AND r.media_id = w.media_id RETURNING r.digest
"""
_DELETE_REMOTE_BEFORE = """
    DELETE FROM remote_media WHERE (server_name, media_id) IN (
        SELECT server_name, media_id FROM remote_media JOIN media_files USING (digest)
        WHERE used_ts < $1 AND NOT is_quarantined ORDER BY used_ts LIMIT $2
    ) RETURNING digest
"""


async def one(db: Reader, own: str, origin: str, media_id: str) -> MediaInfo | None:
    """A file of ours, or one of another server that is kept here."""
    row = await db.fetchrow(_LOCAL_ONE if origin == own else _REMOTE_ONE, origin, media_id)
    return _info(row) if row is not None else None


async def of_user(
    db: Reader, own: str, user_id: UserId, *, order_by: str, backwards: bool, limit: int, offset: int
) -> tuple[list[MediaInfo], int]:
    """One page of what a user has uploaded, and how much that is in all."""
    sql = _OF_USER.format(order=ORDERS[order_by], direction="DESC" if backwards else "ASC")
    rows = await db.fetch(sql, own, user_id, limit, offset)
    return [_info(row) for row in rows], int(await db.fetchval(_COUNT_OF_USER, user_id))


async def count_of_user(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_COUNT_OF_USER, user_id))


async def ids_of_user(db: Reader, user_id: UserId, limit: int) -> list[str]:
    return [row["media_id"] for row in await db.fetch(_IDS_OF_USER, user_id, limit)]


async def old(db: Reader, before_ms: int, larger_than: int, *, keep_profiles: bool, limit: int) -> list[str]:
    """Files of ours from before a time and larger than so many bytes; with `keep_profiles` no pictures of people."""
    rows = await db.fetch(_OLD, before_ms, larger_than, keep_profiles, limit)
    return [row["media_id"] for row in rows]


async def shown_in_room(db: Reader, room_id: RoomId, events_max: int, own: str) -> list[tuple[str, str]]:
    """(server, id) of what the newest events of a room show. Reads up to `events_max` events.

    Of those whose bodies can't be read: files of this server, `own`, alone. Raises Unavailable where the archive is
    away.
    """
    found = {(row["origin"], row["media_id"]) for row in await db.fetch(_SHOWN_IN_ROOM, room_id, events_max)}
    moved = await db.fetch(_ELSEWHERE_IN_ROOM, room_id, events_max)
    lost: list[int] = []
    for at in range(0, len(moved), _BODIES_AT_ONCE):
        some = {EventId(row["event_id"]): row["event_nid"] for row in moved[at : at + _BODIES_AT_ONCE]}
        had = await bodies.of(db, some)
        found.update(one for json in had.values() for one in _NAMED.findall(json.decode("utf-8", "replace")))
        lost += [nid for event_id, nid in some.items() if event_id not in had]
    if lost:
        found.update((own, row["media_id"]) for row in await db.fetch(_LINKED, lost))
    return list(found)


async def set_quarantined(
    tx: Tx, own: str, named: Collection[tuple[str, str]], is_quarantined: bool, by: str, now_ms: int
) -> int:
    """Bars these files under whatever id, but protected ones, or lets them out; how many ids that concerns."""
    ours = [media_id for origin, media_id in named if origin == own]
    theirs = [(origin, media_id) for origin, media_id in named if origin != own]
    rows = await tx.fetch(_DIGESTS, own, ours, is_quarantined)
    rows += await tx.fetch(_REMOTE_DIGESTS, [one[0] for one in theirs], [one[1] for one in theirs], is_quarantined)
    await tx.execute(_QUARANTINE, [row["digest"] for row in rows], is_quarantined, by)
    origins, ids = [row["origin"] for row in rows], [row["media_id"] for row in rows]
    await tx.execute(_NOTE, origins, ids, now_ms, is_quarantined, by)
    return len(rows)


async def changes(db: Reader, after: int, limit: int) -> list[Change]:
    """What was quarantined and let out, the oldest first."""
    rows = await db.fetch(_CHANGES, after, limit)
    return [Change(row["change_nid"], row["origin"], row["media_id"], row["is_quarantined"]) for row in rows]


async def set_protected(tx: Tx, media_id: str, is_protected: bool) -> bool:
    """False where there is no such file."""
    return await tx.fetchval(_PROTECT, media_id, is_protected) is not None


async def delete_remote(tx: Tx, named: Sequence[tuple[str, str]]) -> set[str]:
    """Deletes names of files of other servers; the digests they named."""
    rows = await tx.fetch(_DELETE_REMOTE, [origin for origin, _ in named], [media_id for _, media_id in named])
    return {row["digest"] for row in rows}


async def delete_remote_before(tx: Tx, before_ms: int, limit: int) -> tuple[set[str], int]:
    """Deletes some that nobody asked for since a time, but for those in quarantine: the digests, and how many."""
    rows = await tx.fetch(_DELETE_REMOTE_BEFORE, before_ms, limit)
    return {row["digest"] for row in rows}, len(rows)


def _info(row: Row) -> MediaInfo:
    return MediaInfo(**row)
