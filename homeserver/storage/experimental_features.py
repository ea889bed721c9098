"""The table `experimental_features`, as the server itself reads it."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader

_OF_USER = "SELECT feature, is_enabled FROM experimental_features WHERE user_id = $1"


async def of_user(db: Reader, user_id: UserId) -> dict[str, bool]:
    """What was switched on or off for a user."""
    return {row["feature"]: row["is_enabled"] for row in await db.fetch(_OF_USER, user_id)}
