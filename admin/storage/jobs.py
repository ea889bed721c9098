"""The tables `admin_jobs` and `admin_switches`: long work that operators began."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """`arguments` and `progress` are JSON objects; times in milliseconds."""

    job_id: str
    kind: str
    target: str
    arguments: str
    state: str  # scheduled, active, complete, failed or cancelled
    progress: str
    error: str | None
    started_by: str
    created_ts: int
    changed_ts: int
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are asked for. None asks for all."""

    kind: str | None = None
    target: str | None = None
    state: str | None = None
    until_ts: int | None = None


_COLUMNS = "job_id, kind, target, arguments, state, progress, error, started_by, created_ts, changed_ts, tries"
_INSERT = """
    INSERT INTO admin_jobs (job_id, kind, target, arguments, state, started_by, created_ts, changed_ts)
    VALUES ($1, $2, $3, $4, 'scheduled', $5, $6, $6)
"""
_ONE = f"SELECT {_COLUMNS} FROM admin_jobs WHERE job_id = $1"
_PAGE = f"""
    SELECT {_COLUMNS} FROM admin_jobs
    WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR target = $2) AND ($3::text IS NULL OR state = $3)
        AND ($4::bigint IS NULL OR created_ts <= $4)
    ORDER BY created_ts DESC, job_id DESC LIMIT $5
"""
_CLAIM = f"""
    UPDATE admin_jobs SET state = 'active', tries = tries + 1, changed_ts = $1 WHERE job_id = (
        SELECT job_id FROM admin_jobs waiting WHERE state = 'scheduled' AND kind = ANY($2::text[])
            AND NOT EXISTS (SELECT FROM admin_jobs a WHERE a.state = 'active' AND a.target = waiting.target)
        ORDER BY created_ts, job_id LIMIT 1
    ) RETURNING {_COLUMNS}
"""
_GIVE_UP = """
    UPDATE admin_jobs SET state = 'failed', error = $2, changed_ts = $3 WHERE state = 'active' AND tries >= $1
"""
_TAKE_UP = "UPDATE admin_jobs SET state = 'scheduled' WHERE state = 'active'"
_PROGRESS = "UPDATE admin_jobs SET progress = $2, changed_ts = $3 WHERE job_id = $1"
_END = """
    UPDATE admin_jobs SET state = $2, error = $3, progress = coalesce($4, progress), changed_ts = $5
    WHERE job_id = $1 AND state IN ('scheduled', 'active')
"""
_SWITCH = "SELECT is_on FROM admin_switches WHERE name = $1"
_SET_SWITCH = """
    INSERT INTO admin_switches (name, is_on) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET is_on = excluded.is_on
"""


async def insert(tx: Tx, row: JobRow) -> None:
    await tx.execute(_INSERT, row.job_id, row.kind, row.target, row.arguments, row.started_by, row.created_ts)


async def one(db: Reader, job_id: str) -> JobRow | None:
    row = await db.fetchrow(_ONE, job_id)
    return _job(row) if row is not None else None


async def page(db: Reader, wanted: JobFilter, limit: int) -> list[JobRow]:
    """The newest first."""
    rows = await db.fetch(_PAGE, wanted.kind, wanted.target, wanted.state, wanted.until_ts, limit)
    return [_job(row) for row in rows]


async def claim(tx: Tx, kinds: Collection[str], now_ms: int) -> JobRow | None:
    """The oldest of these kinds that waits and whose target nobody works on; it is active from here on.

    One at a time: two who claim at once might get the same.
    """
    row = await tx.fetchrow(_CLAIM, now_ms, list(kinds))
    return _job(row) if row is not None else None


async def take_up(tx: Tx, tries_max: int, error: str, now_ms: int) -> None:
    """After a restart: what was under way waits again, but for what was begun too often already."""
    await tx.execute(_GIVE_UP, tries_max, error, now_ms)
    await tx.execute(_TAKE_UP)


async def set_progress(tx: Tx, job_id: str, progress: str, now_ms: int) -> None:
    await tx.execute(_PROGRESS, job_id, progress, now_ms)


async def end(tx: Tx, job_id: str, state: str, error: str | None, progress: str | None, now_ms: int) -> bool:
    """False where it had ended before."""
    return (await tx.execute(_END, job_id, state, error, progress, now_ms)) == "UPDATE 1"


async def is_on(db: Reader, name: str) -> bool:
    """Whether a switch is on; one that nobody ever touched is."""
    found: bool | None = await db.fetchval(_SWITCH, name)
    return found if found is not None else True


async def switch(tx: Tx, name: str, is_on: bool) -> None:
    await tx.execute(_SET_SWITCH, name, is_on)


def _job(row: Row) -> JobRow:
    return JobRow(**row)
