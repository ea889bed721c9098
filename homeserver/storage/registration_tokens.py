"""The table `registration_tokens`."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`uses_allowed` None: any number. `expires_ts` in milliseconds."""

    token: str
    uses_allowed: int | None
    completed: int
    expires_ts: int | None


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
_COLUMNS = "token, uses_allowed, completed, expires_ts"
_ALL = f"""
    SELECT {_COLUMNS} FROM registration_tokens
    WHERE $1::boolean IS NULL
        OR $1 = ((uses_allowed IS NULL OR completed < uses_allowed) AND (expires_ts IS NULL OR expires_ts > $2))
    ORDER BY token
"""
_ONE = f"SELECT {_COLUMNS} FROM registration_tokens WHERE token = $1"
_UPDATE = "UPDATE registration_tokens SET uses_allowed = $2, expires_ts = $3 WHERE token = $1"
_DELETE = "DELETE FROM registration_tokens WHERE token = $1"


async def is_valid(db: Reader, token: str, now_ms: int) -> bool:
    return bool(await db.fetchval(_VALID, token, now_ms))


async def use(tx: Tx, token: str, now_ms: int) -> bool:
    """Counts one use. False if the token isn't, or is no longer, good for one."""
    return (await tx.execute(_USE, token, now_ms)) == "UPDATE 1"


async def insert(tx: Tx, token: str, uses_allowed: int | None, expires_ts: int | None) -> None:
    await tx.execute(_INSERT, token, uses_allowed, expires_ts)


async def all_of_them(db: Reader, valid: bool | None, now_ms: int) -> list[TokenRow]:
    """Those that are, or aren't, good for a use now; None: all."""
    return [TokenRow(**row) for row in await db.fetch(_ALL, valid, now_ms)]


async def one(db: Reader, token: str) -> TokenRow | None:
    row = await db.fetchrow(_ONE, token)
    return TokenRow(**row) if row else None


async def update(tx: Tx, token: str, uses_allowed: int | None, expires_ts: int | None) -> None:
    await tx.execute(_UPDATE, token, uses_allowed, expires_ts)


async def delete(tx: Tx, token: str) -> bool:
    """Whether there was one."""
    return (await tx.execute(_DELETE, token)) == "DELETE 1"
