"""The column `users.is_shadow_banned`: whose words go nowhere."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_ALL = "SELECT user_id FROM users WHERE is_shadow_banned"
_SET = "UPDATE users SET is_shadow_banned = $2 WHERE user_id = $1"


async def all_of_them(db: Reader) -> set[UserId]:
    return {UserId(row["user_id"]) for row in await db.fetch(_ALL)}


async def set_banned(tx: Tx, user_id: UserId, is_banned: bool) -> None:
    await tx.execute(_SET, user_id, is_banned)
