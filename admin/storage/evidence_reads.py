"""What the console's pages of holds, exports and retention list. Nothing here writes; pages go by keys."""

from __future__ import annotations

from homeserver.storage.database import Reader, Row

_HOLDS = """
    SELECT hold_id, kind, target, reason, set_by, set_ts, released_by, released_ts FROM legal_holds
    WHERE (set_ts, hold_id) < ($1, $2) AND ($3 = '' OR target = $3 OR hold_id = $3)
        AND CASE $4 WHEN 'held' THEN released_ts IS NULL WHEN 'released' THEN released_ts IS NOT NULL ELSE true END
    ORDER BY set_ts DESC, hold_id DESC LIMIT $5
"""
_JOBS = """
    SELECT job_id, target, arguments, state, progress, error, started_by, created_ts, changed_ts FROM admin_jobs
    WHERE kind = $1 AND (created_ts, job_id) < ($2, $3) AND ($4 = '' OR target = $4 OR job_id = $4 OR started_by = $4)
        AND ($5 = 'all' OR state = $5)
    ORDER BY created_ts DESC, job_id DESC LIMIT $6
"""
_ROOMS = """
    SELECT r.room_nid, r.room_id, f.retention_ms,
        EXISTS (SELECT FROM held_rooms h WHERE h.room_id = r.room_id) AS is_held
    FROM room_facts f JOIN rooms r USING (room_nid)
    WHERE f.retention_ms > 0 AND r.room_nid > $1 AND ($2 = '' OR r.room_id = $2) ORDER BY r.room_nid LIMIT $3
"""


async def holds(db: Reader, below: tuple[int, str], about: str, state: str, limit: int) -> list[Row]:
    """The newest first; `state` is held, released or all."""
    return await db.fetch(_HOLDS, *below, about, state, limit)


async def jobs_of(db: Reader, kind: str, below: tuple[int, str], about: str, state: str, limit: int) -> list[Row]:
    """Jobs of a kind, the newest first."""
    return await db.fetch(_JOBS, kind, *below, about, state, limit)


async def rooms_that_expire(db: Reader, after: int, room_id: str, limit: int) -> list[Row]:
    """Rooms that say how long their messages are kept, by number."""
    return await db.fetch(_ROOMS, after, room_id, limit)
