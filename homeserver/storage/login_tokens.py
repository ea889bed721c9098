"""The tables `login_tokens` and `external_ids`: ways in that aren't a password."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

# Nothing where the sign-in elsewhere, by which somebody comes, has ended meanwhile.
_INSERT = """
    INSERT INTO login_tokens (digest, user_id, expires_ts, upstream_nid) SELECT $1, $2, $3, $4::bigint
    WHERE $4::bigint IS NULL OR EXISTS (SELECT FROM upstream_sessions WHERE upstream_nid = $4 FOR KEY SHARE)
"""
_END = "DELETE FROM login_tokens WHERE user_id = $1"
_TRIM = """
    DELETE FROM login_tokens WHERE user_id = $1 AND digest IN (
        SELECT digest FROM login_tokens WHERE user_id = $1 ORDER BY expires_ts DESC OFFSET $2
    )
"""
_EXPIRE = "DELETE FROM login_tokens WHERE expires_ts <= $1"
_TAKE = "DELETE FROM login_tokens WHERE digest = $1 AND expires_ts > $2 RETURNING user_id, upstream_nid"
_HOLDER = "SELECT user_id FROM external_ids WHERE provider = $1 AND subject = $2"
_HAS_LINK = "SELECT EXISTS (SELECT FROM external_ids WHERE provider = $1 AND user_id = $2)"
_PROVIDERS = "SELECT DISTINCT provider FROM external_ids WHERE user_id = $1"
_LINK = "INSERT INTO external_ids (provider, subject, user_id) VALUES ($1, $2, $3)"
_UNLINK_ALL = "DELETE FROM external_ids WHERE user_id = $1"


async def insert(tx: Tx, digest: bytes, user_id: UserId, expires_ts: int, upstream: int | None, now_ms: int) -> None:
    await tx.execute(_EXPIRE, now_ms)
    await tx.execute(_INSERT, digest, user_id, expires_ts, upstream)


async def end(tx: Tx, user_id: UserId) -> None:
    """Ends those of one user."""
    await tx.execute(_END, user_id)


async def trim(tx: Tx, user_id: UserId, keep: int) -> None:
    """Of one user, all but those that live longest."""
    await tx.execute(_TRIM, user_id, keep)


async def take(tx: Tx, digest: bytes, now_ms: int) -> tuple[UserId, int | None] | None:
    """Whose token it is, and the sign-in elsewhere that it came of; it is gone with that."""
    row = await tx.fetchrow(_TAKE, digest, now_ms)
    return (row["user_id"], row["upstream_nid"]) if row else None


async def holder(db: Reader, provider: str, subject: str) -> UserId | None:
    """Who this identity of a sign-in service is here."""
    user_id: UserId | None = await db.fetchval(_HOLDER, provider, subject)
    return user_id


async def has_link(db: Reader, provider: str, user_id: UserId) -> bool:
    """Whether this user is somebody at this sign-in service."""
    return bool(await db.fetchval(_HAS_LINK, provider, user_id))


async def providers(db: Reader, user_id: UserId) -> set[str]:
    """The sign-in services at which this user is somebody."""
    return {row["provider"] for row in await db.fetch(_PROVIDERS, user_id)}


async def link(tx: Tx, provider: str, subject: str, user_id: UserId) -> None:
    await tx.execute(_LINK, provider, subject, user_id)


async def unlink_all(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_UNLINK_ALL, user_id)
