"""The table `browser_sessions`: people who are signed in on our own pages."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

# Nothing where the sign-in elsewhere, by which somebody comes, has ended meanwhile.
_INSERT = """
    INSERT INTO browser_sessions (digest, user_id, expires_ts, upstream_nid) SELECT $1, $2, $3, $4::bigint
    WHERE $4::bigint IS NULL OR EXISTS (SELECT FROM upstream_sessions WHERE upstream_nid = $4 FOR KEY SHARE)
"""
_TRIM = """
    DELETE FROM browser_sessions WHERE user_id = $1 AND (
        expires_ts <= $2 OR digest IN (
            SELECT digest FROM browser_sessions WHERE user_id = $1 ORDER BY expires_ts DESC OFFSET $3
        )
    )
"""
_USER = """
    SELECT s.user_id, s.upstream_nid FROM browser_sessions s JOIN users u USING (user_id)
    WHERE s.digest = $1 AND s.expires_ts > $2 AND NOT u.is_deactivated AND NOT u.is_locked
"""
_DELETE = "DELETE FROM browser_sessions WHERE digest = $1"
_DELETE_ALL = "DELETE FROM browser_sessions WHERE user_id = $1 AND digest <> $2"


async def insert(tx: Tx, digest: bytes, user_id: UserId, expires_ts: int, upstream: int | None) -> None:
    await tx.execute(_INSERT, digest, user_id, expires_ts, upstream)


async def trim(tx: Tx, user_id: UserId, now_ms: int, keep: int) -> None:
    """Deletes what has expired of a user's, and all but the newest `keep`."""
    await tx.execute(_TRIM, user_id, now_ms, keep)


async def user(db: Reader, digest: bytes, now_ms: int) -> tuple[UserId, int | None] | None:
    """Whose session it is, while it and the account may be used, and the sign-in elsewhere that it came of."""
    row = await db.fetchrow(_USER, digest, now_ms)
    return (row["user_id"], row["upstream_nid"]) if row else None


async def delete(tx: Tx, digest: bytes) -> None:
    await tx.execute(_DELETE, digest)


async def delete_others(tx: Tx, user_id: UserId, but: bytes) -> None:
    await tx.execute(_DELETE_ALL, user_id, but)
