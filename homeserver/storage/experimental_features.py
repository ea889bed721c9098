"""The table `experimental_features`: what is tried with which user."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_OF_USER = "SELECT feature, is_enabled FROM experimental_features WHERE user_id = $1"
_SET = """
    INSERT INTO experimental_features (user_id, feature, is_enabled)
    SELECT $1, new.* FROM unnest($2::text[], $3::boolean[]) AS new
    ON CONFLICT (user_id, feature) DO UPDATE SET is_enabled = excluded.is_enabled
"""


async def of_user(db: Reader, user_id: UserId) -> dict[str, bool]:
    """What was switched on or off for a user."""
    return {row["feature"]: row["is_enabled"] for row in await db.fetch(_OF_USER, user_id)}


async def set_features(tx: Tx, user_id: UserId, features: dict[str, bool]) -> None:
    """Switches these on or off; the others stay."""
    await tx.execute(_SET, user_id, list(features), list(features.values()))
