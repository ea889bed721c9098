"""The table `push_rules`: what users changed about the default push rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class PushRulesRow:
    """`changes` is JSON; `position` of the newest change, `since` of the first."""

    user_id: UserId
    changes: bytes
    position: int
    since: int


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('push_rules ' || $1, 0))"
_COLUMNS = "user_id, changes, position, since"
_UPSERT = """
    INSERT INTO push_rules (user_id, changes, position, since) VALUES ($1, $2, $3, $3)
    ON CONFLICT (user_id) DO UPDATE SET changes = excluded.changes, position = excluded.position
"""
_BY_USERS = f"SELECT {_COLUMNS} FROM push_rules WHERE user_id = ANY($1::text[])"
_ALL = f"SELECT {_COLUMNS} FROM push_rules WHERE user_id > $1 ORDER BY user_id LIMIT $2"


async def lock(tx: Tx, user_id: UserId) -> None:
    """Lets one transaction at a time change this user's rules."""
    await tx.execute(_LOCK, user_id)


async def upsert(tx: Tx, user_id: UserId, changes: bytes, position: int) -> None:
    await tx.execute(_UPSERT, user_id, changes, position)


async def by_users(db: Reader, user_ids: Collection[UserId]) -> list[PushRulesRow]:
    return [_row(row) for row in await db.fetch(_BY_USERS, list(user_ids))]


async def page(db: Reader, after: str, limit: int) -> list[PushRulesRow]:
    """The next rows by user id."""
    return [_row(row) for row in await db.fetch(_ALL, after, limit)]


def _row(row: Row) -> PushRulesRow:
    return PushRulesRow(UserId(row["user_id"]), row["changes"], row["position"], row["since"])
