"""The table `rate_limit_overrides`: users whom other limits hold for than the configured ones."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_ALL = "SELECT user_id, messages_per_second, burst_count FROM rate_limit_overrides"
_OF = "SELECT messages_per_second, burst_count FROM rate_limit_overrides WHERE user_id = $1"
_SET = """
    INSERT INTO rate_limit_overrides (user_id, messages_per_second, burst_count) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE
        SET messages_per_second = excluded.messages_per_second, burst_count = excluded.burst_count
"""
_DELETE = "DELETE FROM rate_limit_overrides WHERE user_id = $1"


async def all_of_them(db: Reader) -> dict[UserId, tuple[int, int]]:
    """(messages a second, burst) by user."""
    return {UserId(row["user_id"]): (row["messages_per_second"], row["burst_count"]) for row in await db.fetch(_ALL)}


async def of_user(db: Reader, user_id: UserId) -> tuple[int, int] | None:
    row = await db.fetchrow(_OF, user_id)
    return (row["messages_per_second"], row["burst_count"]) if row else None


async def set_override(tx: Tx, user_id: UserId, messages_per_second: int, burst_count: int) -> None:
    await tx.execute(_SET, user_id, messages_per_second, burst_count)


async def delete(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE, user_id)
