"""The tables `profiles` (what users say of themselves, field by field, as JSON) and `profile_changes`."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx

_OF_USERS = "SELECT user_id, field, value FROM profiles WHERE user_id = ANY($1::text[])"
_FIELDS_OF_USERS = """
    SELECT user_id, field, value FROM profiles WHERE user_id = ANY($1::text[]) AND field = ANY($2::text[])
"""
_UPSERT = """
    INSERT INTO profiles (user_id, field, value) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value
"""
_DELETE = "DELETE FROM profiles WHERE user_id = $1 AND field = $2"
_DELETE_ALL = "DELETE FROM profiles WHERE user_id = $1"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('profiles ' || $1, 0))"
_CHANGED = """
    INSERT INTO profile_changes (user_id, position) VALUES ($1, $2)
    ON CONFLICT (user_id) DO UPDATE SET position = excluded.position
"""
_CHANGES = "SELECT user_id FROM profile_changes WHERE position > $1 AND position <= $2"


async def lock(tx: Tx, user_id: UserId) -> None:
    """Makes other changes of this user's profile wait until the transaction ends."""
    await tx.execute(_LOCK, user_id)


async def of_user(db: Reader, user_id: UserId) -> dict[str, bytes]:
    return {row["field"]: row["value"] for row in await db.fetch(_OF_USERS, [user_id])}


async def fields_of(
    db: Reader, user_ids: Collection[UserId], fields: Collection[str]
) -> dict[UserId, dict[str, bytes]]:
    """These fields of these users, in one query."""
    found: dict[UserId, dict[str, bytes]] = {}
    for row in await db.fetch(_FIELDS_OF_USERS, list(user_ids), list(fields)):
        found.setdefault(UserId(row["user_id"]), {})[row["field"]] = row["value"]
    return found


async def upsert(tx: Tx, user_id: UserId, field: str, value: bytes) -> None:
    await tx.execute(_UPSERT, user_id, field, value)


async def delete(tx: Tx, user_id: UserId, field: str) -> None:
    await tx.execute(_DELETE, user_id, field)


async def delete_all(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE_ALL, user_id)


async def mark_changed(tx: Tx, user_id: UserId, position: int) -> None:
    """Notes, with a change, where in the journal it stands."""
    await tx.execute(_CHANGED, user_id, position)


async def changed(db: Reader, since: int, upto: int) -> set[UserId]:
    """Whose profile last changed with since < position <= upto."""
    return {UserId(row["user_id"]) for row in await db.fetch(_CHANGES, since, upto)}
