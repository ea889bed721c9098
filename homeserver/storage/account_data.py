"""The table `account_data`: what clients keep on the server, per account and per room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class AccountDataRow:
    room_id: str
    type: str
    content: bytes
    position: int


_UPSERT = """
    INSERT INTO account_data (user_id, room_id, type, content, position) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = excluded.content, position = excluded.position
"""
_ONE = "SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3"
_SOME = "SELECT type, content FROM account_data WHERE user_id = $1 AND room_id = '' AND type = ANY($2::text[])"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('account_data ' || $1, 0))"
_LOCKED = "SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3 FOR UPDATE"
_CHANGES = """
    SELECT room_id, type, content, position FROM account_data
    WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position
"""
_OF_ROOMS = """
    SELECT room_id, type, content, position FROM account_data
    WHERE user_id = $1 AND room_id = ANY($2::text[]) ORDER BY position
"""
_OF_TYPE = """
    SELECT room_id, type, content, position FROM account_data WHERE user_id = $1 AND type = $2 AND room_id <> ''
"""
_EMPTY = """
    UPDATE account_data SET content = '{}', position = $3
    WHERE user_id = $1 AND room_id = '' AND type = ANY($2::text[]) AND content <> '{}' RETURNING type
"""
_KEPT = """
    SELECT count(*) AS entries, coalesce(sum(octet_length(content)), 0) AS size FROM account_data WHERE user_id = $1
"""


async def upsert(tx: Tx, user_id: UserId, room_id: str, kind: str, content: bytes, position: int) -> None:
    await tx.execute(_UPSERT, user_id, room_id, kind, content, position)


async def one(db: Reader, user_id: UserId, room_id: str, kind: str) -> bytes | None:
    content: bytes | None = await db.fetchval(_ONE, user_id, room_id, kind)
    return content


async def some(db: Reader, user_id: UserId, kinds: Collection[str]) -> dict[str, bytes]:
    """Entries of the account as a whole, by kind; those that aren't there are left out."""
    return {row["type"]: row["content"] for row in await db.fetch(_SOME, user_id, list(kinds))}


async def lock(tx: Tx, user_id: UserId) -> None:
    """Makes others who would add to what this user keeps wait until the transaction ends."""
    await tx.execute(_LOCK, user_id)


async def locked(tx: Tx, user_id: UserId, room_id: str, kind: str) -> bytes | None:
    """The same, held against others who would change it."""
    content: bytes | None = await tx.fetchval(_LOCKED, user_id, room_id, kind)
    return content


async def empty(tx: Tx, user_id: UserId, kinds: Collection[str], position: int) -> list[str]:
    """Deletes entries of the account, as far as they are there: which these were."""
    return [row["type"] for row in await tx.fetch(_EMPTY, user_id, list(kinds), position)]


async def changes(db: Reader, user_id: UserId, since: int, upto: int) -> list[AccountDataRow]:
    """What was set with since < position <= upto."""
    rows = await db.fetch(_CHANGES, user_id, since, upto)
    return [AccountDataRow(row["room_id"], row["type"], row["content"], row["position"]) for row in rows]


async def of_rooms(db: Reader, user_id: UserId, room_ids: Collection[str]) -> list[AccountDataRow]:
    """All there is of these rooms; '' stands for the account."""
    rows = await db.fetch(_OF_ROOMS, user_id, list(room_ids))
    return [AccountDataRow(row["room_id"], row["type"], row["content"], row["position"]) for row in rows]


async def of_type(db: Reader, user_id: UserId, kind: str) -> list[AccountDataRow]:
    """What a user keeps under this type in rooms."""
    rows = await db.fetch(_OF_TYPE, user_id, kind)
    return [AccountDataRow(row["room_id"], row["type"], row["content"], row["position"]) for row in rows]


async def kept(db: Reader, user_id: UserId) -> tuple[int, int]:
    """How many entries a user has, and of how many bytes. One scan of their rows, without the contents."""
    row = await db.fetchrow(_KEPT, user_id)
    return (row["entries"], int(row["size"])) if row is not None else (0, 0)
