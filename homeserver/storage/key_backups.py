"""The tables `key_backups` and `backed_up_sessions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class BackupRow:
    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    count: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    room_id: str
    session_id: str
    first_message_index: int
    forwarded_count: int
    is_verified: bool
    data: bytes


_CREATE = """
    INSERT INTO key_backups (user_id, version, algorithm, auth_data)
    SELECT $1, coalesce(max(version), 0) + 1, $2, $3 FROM key_backups WHERE user_id = $1
    RETURNING version
"""
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('key_backups ' || $1, 0))"
_GET = """
    SELECT b.version, b.algorithm, b.auth_data, b.etag,
        (SELECT count(*) FROM backed_up_sessions s WHERE s.user_id = b.user_id AND s.version = b.version) AS count
    FROM key_backups b WHERE b.user_id = $1 AND NOT b.is_deleted AND ($2::bigint IS NULL OR b.version = $2)
    ORDER BY b.version DESC LIMIT 1
"""
_LIVE = "SELECT count(*) FROM key_backups WHERE user_id = $1 AND NOT is_deleted"
_LOCK_ALL = "SELECT pg_advisory_xact_lock(hashtextextended('key_backups ' || $1, 0))"
_LOCK = "SELECT version FROM key_backups WHERE user_id = $1 AND NOT is_deleted ORDER BY version DESC LIMIT 1 FOR UPDATE"
_SET_AUTH_DATA = "UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2 AND NOT is_deleted"
_DELETE = "UPDATE key_backups SET is_deleted = true, auth_data = '' WHERE user_id = $1 AND version = $2"
_BUMP = "UPDATE key_backups SET etag = etag + 1 WHERE user_id = $1 AND version = $2"
_SESSIONS = """
    SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, data FROM backed_up_sessions
    WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
"""
# A better copy replaces a worse one: verified, then from an earlier message on, then forwarded less often.
_PUT = """
    INSERT INTO backed_up_sessions AS old
        (user_id, version, room_id, session_id, first_message_index, forwarded_count, is_verified, data)
    SELECT $1, $2, new.* FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bytea[])
        AS new(room_id, session_id, first_message_index, forwarded_count, is_verified, data)
    ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET
        first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,
        is_verified = excluded.is_verified, data = excluded.data
    WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
        < (NOT old.is_verified, old.first_message_index, old.forwarded_count)
"""
_DELETE_SESSIONS = """
    DELETE FROM backed_up_sessions
    WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
"""


async def create(tx: Tx, user_id: UserId, algorithm: str, auth_data: bytes) -> int:
    """The new version: one more than the last, deleted ones counted."""
    await tx.execute(_ONE_AT_A_TIME, user_id)
    return int(await tx.fetchval(_CREATE, user_id, algorithm, auth_data))


async def get(db: Reader, user_id: UserId, version: int | None) -> BackupRow | None:
    """A backup, or the newest one."""
    row = await db.fetchrow(_GET, user_id, version)
    return BackupRow(**row) if row else None


async def lock(tx: Tx, user_id: UserId) -> None:
    """Makes others who would create a backup of this user wait until the transaction ends."""
    await tx.execute(_LOCK_ALL, user_id)


async def live_versions(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_LIVE, user_id))


async def locked_version(tx: Tx, user_id: UserId) -> int | None:
    """The newest version, held until the transaction ends."""
    version: int | None = await tx.fetchval(_LOCK, user_id)
    return version


async def set_auth_data(tx: Tx, user_id: UserId, version: int, auth_data: bytes) -> None:
    await tx.execute(_SET_AUTH_DATA, user_id, version, auth_data)


async def delete(tx: Tx, user_id: UserId, version: int) -> None:
    await tx.execute(_DELETE, user_id, version)
    await tx.execute(_DELETE_SESSIONS, user_id, version, None, None)


async def sessions(
    db: Reader, user_id: UserId, version: int, room_id: str | None, session_id: str | None
) -> list[SessionRow]:
    """The keys of a backup, of one of its rooms, or one of them."""
    return [_session(row) for row in await db.fetch(_SESSIONS, user_id, version, room_id, session_id)]


async def put(tx: Tx, user_id: UserId, version: int, rows: Sequence[SessionRow]) -> bool:
    """Whether anything was taken: what is there stays where it is better."""
    done = await tx.execute(
        _PUT,
        user_id,
        version,
        [row.room_id for row in rows],
        [row.session_id for row in rows],
        [row.first_message_index for row in rows],
        [row.forwarded_count for row in rows],
        [row.is_verified for row in rows],
        [row.data for row in rows],
    )
    if done == "INSERT 0 0":
        return False
    await tx.execute(_BUMP, user_id, version)
    return True


async def delete_sessions(tx: Tx, user_id: UserId, version: int, room_id: str | None, session_id: str | None) -> None:
    if (await tx.execute(_DELETE_SESSIONS, user_id, version, room_id, session_id)) != "DELETE 0":
        await tx.execute(_BUMP, user_id, version)


def _session(row: Row) -> SessionRow:
    return SessionRow(
        row["room_id"],
        row["session_id"],
        row["first_message_index"],
        row["forwarded_count"],
        row["is_verified"],
        row["data"],
    )
