"""The table `registration_tokens`."""

from __future__ import annotations

from homeserver.storage.database import Reader, Tx

_VALID = """
    SELECT EXISTS (
        SELECT FROM registration_tokens
        WHERE token = $1 AND (uses_allowed IS NULL OR completed < uses_allowed)
            AND (expires_ts IS NULL OR expires_ts > $2)
    )
"""
_USE = """
    UPDATE registration_tokens SET completed = completed + 1
    WHERE token = $1 AND (uses_allowed IS NULL OR completed < uses_allowed)
        AND (expires_ts IS NULL OR expires_ts > $2)
"""
_INSERT = "INSERT INTO registration_tokens (token, uses_allowed, expires_ts) VALUES ($1, $2, $3)"


async def is_valid(db: Reader, token: str, now_ms: int) -> bool:
    return bool(await db.fetchval(_VALID, token, now_ms))


async def use(tx: Tx, token: str, now_ms: int) -> bool:
    """Counts one use. False if the token isn't, or is no longer, good for one."""
    return (await tx.execute(_USE, token, now_ms)) == "UPDATE 1"


async def insert(tx: Tx, token: str, uses_allowed: int | None, expires_ts: int | None) -> None:
    await tx.execute(_INSERT, token, uses_allowed, expires_ts)
