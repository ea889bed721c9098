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
_ENSURE = """
    INSERT INTO push_rules (user_id, changes, position, since)
    SELECT user_id, '{}', 0, since FROM unnest($1::text[], $2::bigint[]) AS custom(user_id, since)
    ON CONFLICT DO NOTHING
"""
_IGNORE_LISTS = """
    SELECT user_id, content, position FROM account_data
    WHERE type = 'm.ignored_user_list' AND room_id = '' AND user_id > $1 ORDER BY user_id LIMIT $2
"""


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


async def ensure(tx: Tx, since: dict[UserId, int]) -> None:
    """Gives those who have none a row without changes."""
    await tx.execute(_ENSURE, list(since), list(since.values()))


async def ignore_lists(db: Reader, after: str, limit: int) -> list[tuple[UserId, bytes, int]]:
    """(user, content of m.ignored_user_list, its position) of the next users who have set one."""
    rows = await db.fetch(_IGNORE_LISTS, after, limit)
    return [(UserId(row["user_id"]), row["content"], row["position"]) for row in rows]
