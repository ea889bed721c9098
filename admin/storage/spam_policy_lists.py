"""Policy lists that are followed, the room groups that they apply to, and what they put on ACLs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class FollowedRow:
    """A policy list. `is_own`: made here; `is_everywhere`: not in room groups alone."""

    room_id: RoomId
    is_own: bool
    is_everywhere: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """Rooms that lists are applied to together."""

    name: str
    rooms: tuple[RoomId, ...]
    lists: tuple[RoomId, ...]
    bans_members: bool


_FOLLOWED = "SELECT room_id, is_own, is_everywhere FROM spam_policy_lists ORDER BY room_id"
_FOLLOW = """
    INSERT INTO spam_policy_lists (room_id, is_own, is_everywhere, added_by, added_ts) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (room_id) DO UPDATE SET is_own = excluded.is_own, is_everywhere = excluded.is_everywhere
"""
_UNFOLLOW = "DELETE FROM spam_policy_lists WHERE room_id = $1"
_GROUPS = "SELECT name, rooms, lists, bans_members FROM spam_room_groups ORDER BY name"
_PUT_GROUP = """
    INSERT INTO spam_room_groups (name, rooms, lists, bans_members, changed_ts) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET rooms = excluded.rooms, lists = excluded.lists,
        bans_members = excluded.bans_members, changed_ts = excluded.changed_ts
"""
_DELETE_GROUP = "DELETE FROM spam_room_groups WHERE name = $1"
_APPLIED = "SELECT room_id, denied FROM spam_applied_acls"
_PUT_APPLIED = """
    INSERT INTO spam_applied_acls (room_id, denied) VALUES ($1, $2)
    ON CONFLICT (room_id) DO UPDATE SET denied = excluded.denied
"""
_FORGET_APPLIED = "DELETE FROM spam_applied_acls WHERE room_id = ANY($1::text[])"


async def followed(db: Reader) -> list[FollowedRow]:
    return [
        FollowedRow(RoomId(row["room_id"]), row["is_own"], row["is_everywhere"]) for row in await db.fetch(_FOLLOWED)
    ]


async def follow(tx: Tx, row: FollowedRow, *, by: str, now_ms: int) -> None:
    await tx.execute(_FOLLOW, row.room_id, row.is_own, row.is_everywhere, by, now_ms)


async def unfollow(tx: Tx, room_id: RoomId) -> bool:
    """Whether it was followed."""
    return (await tx.execute(_UNFOLLOW, room_id)).endswith(" 1")


async def groups(db: Reader) -> list[GroupRow]:
    return [
        GroupRow(
            name=row["name"],
            rooms=tuple(RoomId(room_id) for room_id in row["rooms"]),
            lists=tuple(RoomId(room_id) for room_id in row["lists"]),
            bans_members=row["bans_members"],
        )
        for row in await db.fetch(_GROUPS)
    ]


async def put_group(tx: Tx, group: GroupRow, *, now_ms: int) -> None:
    await tx.execute(_PUT_GROUP, group.name, list(group.rooms), list(group.lists), group.bans_members, now_ms)


async def delete_group(tx: Tx, name: str) -> bool:
    """Whether it was there."""
    return (await tx.execute(_DELETE_GROUP, name)).endswith(" 1")


async def applied_acls(db: Reader) -> dict[RoomId, list[str]]:
    """Room → what lists have on its ACL."""
    return {RoomId(row["room_id"]): list(row["denied"]) for row in await db.fetch(_APPLIED)}


async def put_applied_acl(tx: Tx, room_id: RoomId, denied: Sequence[str]) -> None:
    await tx.execute(_PUT_APPLIED, room_id, list(denied))


async def forget_applied_acls(tx: Tx, room_ids: Collection[RoomId]) -> None:
    await tx.execute(_FORGET_APPLIED, list(room_ids))
