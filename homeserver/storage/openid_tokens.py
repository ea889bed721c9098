"""The table `openid_tokens`."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_INSERT = "INSERT INTO openid_tokens (digest, user_id, expires_ts) VALUES ($1, $2, $3)"
# Those that have expired, and the oldest past the cap.
_TRIM = """
    DELETE FROM openid_tokens WHERE user_id = $1 AND (
        expires_ts <= $2 OR digest IN (
            SELECT digest FROM openid_tokens WHERE user_id = $1 ORDER BY expires_ts DESC OFFSET $3
        )
    )
"""
_DELETE_ALL = "DELETE FROM openid_tokens WHERE user_id = $1"
_HOLDER = """
    SELECT t.user_id FROM openid_tokens t JOIN users u USING (user_id)
    WHERE t.digest = $1 AND t.expires_ts > $2 AND NOT u.is_deactivated AND NOT u.is_locked
"""


async def insert(tx: Tx, digest: bytes, user_id: UserId, expires_ts: int) -> None:
    await tx.execute(_INSERT, digest, user_id, expires_ts)


async def trim(tx: Tx, user_id: UserId, now_ms: int, keep: int) -> None:
    """Deletes what has expired of a user's tokens, and all but the newest `keep`."""
    await tx.execute(_TRIM, user_id, now_ms, keep)


async def delete_all(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE_ALL, user_id)


async def holder(db: Reader, digest: bytes, now_ms: int) -> UserId | None:
    """Whose token this is, while it is good and the account may be used."""
    found: UserId | None = await db.fetchval(_HOLDER, digest, now_ms)
    return found
