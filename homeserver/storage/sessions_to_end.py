"""The table `sessions_to_end`: whom the operator wants logged out everywhere, until the server has done it."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Database, Reader, Tx

_INSERT = "INSERT INTO sessions_to_end (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
_SOME = "SELECT user_id FROM sessions_to_end ORDER BY user_id LIMIT 100"
_IS_WISHED = "SELECT EXISTS (SELECT FROM sessions_to_end) OR EXISTS (SELECT FROM roles_changed_beside)"
_DELETE = "DELETE FROM sessions_to_end WHERE user_id = $1"


async def insert(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_INSERT, user_id)


async def some(db: Reader) -> list[UserId]:
    """The next of them."""
    return [UserId(row["user_id"]) for row in await db.fetch(_SOME)]


async def is_anything_wished(db: Reader) -> bool:
    """Whether there are some, or somebody's role was changed beside the server."""
    return bool(await db.fetchval(_IS_WISHED))


async def delete(db: Database, user_id: UserId) -> None:
    await db.execute(_DELETE, user_id)
