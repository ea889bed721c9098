"""The table `presence`: status messages and when users were last active; and who may see whom."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName, UserId
from homeserver.storage.database import Database, Reader


@dataclass(frozen=True, slots=True)
class PresenceRow:
    user_id: UserId
    status_msg: str | None
    last_active_ms: int


_UPSERT = """
    INSERT INTO presence (user_id, status_msg, last_active_ms) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET status_msg = excluded.status_msg, last_active_ms = excluded.last_active_ms
"""
_BY_USERS = "SELECT user_id, status_msg, last_active_ms FROM presence WHERE user_id = ANY($1::text[])"
_SHARING_AMONG = """
    SELECT DISTINCT theirs.user_id FROM memberships mine
    JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.membership = 'join'
    WHERE mine.user_id = ANY($1::text[]) AND mine.membership = 'join' AND theirs.user_id = ANY($2::text[])
"""
_SHARING_WITH_SERVER = """
    SELECT DISTINCT theirs.user_id FROM memberships theirs
    WHERE theirs.user_id = ANY($1::text[]) AND theirs.membership = 'join' AND EXISTS (
        SELECT FROM memberships ours
        WHERE ours.room_nid = theirs.room_nid AND ours.membership = 'join'
            AND substring(ours.user_id FROM position(':' IN ours.user_id) + 1) = $2
    )
"""


async def upsert(db: Database, row: PresenceRow) -> None:
    await db.execute(_UPSERT, row.user_id, row.status_msg, row.last_active_ms)


async def by_users(db: Reader, user_ids: Collection[UserId]) -> dict[UserId, PresenceRow]:
    return {
        UserId(row["user_id"]): PresenceRow(UserId(row["user_id"]), row["status_msg"], row["last_active_ms"])
        for row in await db.fetch(_BY_USERS, list(user_ids))
    }


async def sharing_among(db: Reader, users: Collection[UserId], others: Collection[UserId]) -> set[UserId]:
    """Those of `others` who are joined to a room with any of `users`. One query."""
    return {UserId(row["user_id"]) for row in await db.fetch(_SHARING_AMONG, list(users), list(others))}


async def sharing_with_server(db: Reader, users: Collection[UserId], server: ServerName) -> set[UserId]:
    """Those of these users who are joined to a room with any user of a server. One query."""
    return {UserId(row["user_id"]) for row in await db.fetch(_SHARING_WITH_SERVER, list(users), server)}
