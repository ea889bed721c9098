"""The table `memberships`: who is what in which room now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class MembershipRow:
    room_nid: int
    user_id: UserId
    membership: str
    event_nid: int
    is_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class UserRoom:
    """A room that a user has or had to do with."""

    room_id: RoomId
    room_nid: int
    membership: str
    event_nid: int
    is_forgotten: bool
    is_kicked: bool = False  # made to leave by somebody else


UPSERT = """
    INSERT INTO memberships (room_nid, user_id, membership, event_nid)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    ON CONFLICT (room_nid, user_id) DO UPDATE SET
        membership = excluded.membership, event_nid = excluded.event_nid,
        is_forgotten = memberships.is_forgotten AND excluded.membership IN ('leave', 'ban')
"""
_OF_ROOMS = """
    SELECT room_nid, user_id, membership, event_nid, is_forgotten FROM memberships WHERE room_nid = ANY($1::bigint[])
"""
_OF_USER = """
    SELECT r.room_id, m.room_nid, m.membership, m.event_nid, m.is_forgotten, m.membership = 'leave' AND EXISTS (
        SELECT FROM events e WHERE e.event_nid = m.event_nid AND e.sender <> m.user_id
    ) AS is_kicked
    FROM memberships m JOIN rooms r USING (room_nid) WHERE m.user_id = $1
"""
_OF_USERS_IN = """
    SELECT user_id, room_nid FROM memberships WHERE user_id = ANY($1::text[]) AND room_nid = ANY($2::bigint[])
"""
_EVENT_OF = """
    SELECT m.event_nid FROM memberships m JOIN rooms r USING (room_nid) WHERE r.room_id = $1 AND m.user_id = $2
"""
_LEAVE_ALL = """
    UPDATE memberships SET membership = 'leave' WHERE room_nid = $1 AND membership <> 'leave'
"""
_IS_FORGOTTEN = "SELECT is_forgotten FROM memberships WHERE room_nid = $1 AND user_id = $2"
_FORGET = """
    UPDATE memberships SET is_forgotten = true WHERE room_nid = $1 AND user_id = $2 AND membership IN ('leave', 'ban')
"""
_SHARING = """
    SELECT DISTINCT theirs.user_id FROM memberships mine
    JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.membership = 'join'
    WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.user_id <> $1
"""
_SHARE_ROOM = """
    SELECT EXISTS (
        SELECT FROM memberships mine
        JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.membership = 'join'
        WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.user_id = $2
    )
"""
_MUTUAL = """
    SELECT r.room_nid, r.room_id FROM memberships mine
    JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.membership = 'join' AND theirs.user_id = $2
    JOIN rooms r ON r.room_nid = mine.room_nid
    WHERE mine.user_id = $1 AND mine.membership = 'join' AND mine.room_nid > $3
    ORDER BY r.room_nid LIMIT $4
"""
_MUTUAL_COUNT = """
    SELECT count(*) FROM memberships mine
    JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.membership = 'join' AND theirs.user_id = $2
    WHERE mine.user_id = $1 AND mine.membership = 'join'
"""
_OF_DEACTIVATED = """
    SELECT DISTINCT m.user_id FROM memberships m JOIN users u USING (user_id)
    WHERE u.is_deactivated AND m.membership IN ('join', 'invite', 'knock')
"""
_ROOMS_WITH_GUESTS = """
    SELECT DISTINCT r.room_id FROM memberships m JOIN users u USING (user_id) JOIN rooms r USING (room_nid)
    WHERE u.is_guest AND m.membership IN ('join', 'invite', 'knock')
"""
_GUESTS = """
    SELECT m.user_id FROM memberships m JOIN users u USING (user_id)
    WHERE m.room_nid = $1 AND m.membership IN ('join', 'invite', 'knock') AND u.is_guest
"""


async def upsert(tx: Tx, rows: Sequence[MembershipRow]) -> None:
    """`rows` must name each (room, user) once."""
    await tx.execute(UPSERT, *upsert_arguments(rows))


def upsert_arguments(rows: Sequence[MembershipRow]) -> list[list[object]]:
    """The arguments of UPSERT: a list for each column."""
    return [
        [row.room_nid for row in rows],
        [row.user_id for row in rows],
        [row.membership for row in rows],
        [row.event_nid for row in rows],
    ]


async def of_deactivated(db: Reader) -> list[UserId]:
    """Deactivated accounts that are still in some room, or asked to one."""
    return [UserId(row["user_id"]) for row in await db.fetch(_OF_DEACTIVATED)]


async def rooms_with_guests(db: Reader) -> list[RoomId]:
    """Rooms that a guest of this server is in."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_ROOMS_WITH_GUESTS)]


async def event_of(db: Reader, room_id: RoomId, user_id: UserId) -> int | None:
    """The number of the event that says what a user is in a room."""
    nid: int | None = await db.fetchval(_EVENT_OF, room_id, user_id)
    return nid


async def leave_all(tx: Tx, room_nid: int) -> None:
    """Before a room's members are written anew."""
    await tx.execute(_LEAVE_ALL, room_nid)


async def of_rooms(db: Reader, room_nids: Collection[int]) -> list[MembershipRow]:
    return [_membership(row) for row in await db.fetch(_OF_ROOMS, list(room_nids))]


async def of_users_in(db: Reader, user_ids: Collection[UserId], room_nids: Collection[int]) -> list[tuple[UserId, int]]:
    """Which of these users are or were in which of these rooms."""
    rows = await db.fetch(_OF_USERS_IN, list(user_ids), list(room_nids))
    return [(UserId(row["user_id"]), row["room_nid"]) for row in rows]


async def of_user(db: Reader, user_id: UserId) -> list[UserRoom]:
    """All rooms of a user, left and forgotten ones too. One index scan."""
    return [
        UserRoom(RoomId(room_id), room_nid, membership, event_nid, is_forgotten, is_kicked)
        for room_id, room_nid, membership, event_nid, is_forgotten, is_kicked in await db.fetch(_OF_USER, user_id)
    ]


async def users_sharing(db: Reader, user_id: UserId) -> list[UserId]:
    """Whoever is joined to a room with this user."""
    return [UserId(row["user_id"]) for row in await db.fetch(_SHARING, user_id)]


async def share_room(db: Reader, user_id: UserId, other: UserId) -> bool:
    return bool(await db.fetchval(_SHARE_ROOM, user_id, other))


async def mutual(
    db: Reader, user_id: UserId, other: UserId, after: int, limit: int
) -> tuple[list[tuple[int, RoomId]], int]:
    """(room nid, room id) where both are joined, past room `after`; and how many there are in all."""
    rows = await db.fetch(_MUTUAL, user_id, other, after, limit)
    count: int = await db.fetchval(_MUTUAL_COUNT, user_id, other)
    return [(row["room_nid"], RoomId(row["room_id"])) for row in rows], count


async def guests(db: Reader, room_nid: int) -> list[UserId]:
    """Guests of this server who are in a room, or invited."""
    return [UserId(row["user_id"]) for row in await db.fetch(_GUESTS, room_nid)]


async def is_forgotten(db: Reader, room_nid: int, user_id: UserId) -> bool:
    """Whether the user has left and forgotten the room. One index look-up."""
    return bool(await db.fetchval(_IS_FORGOTTEN, room_nid, user_id))


async def forget(tx: Tx, room_nid: int, user_id: UserId) -> bool:
    """Whether there was a room to forget: only one that the user has left."""
    return (await tx.execute(_FORGET, room_nid, user_id)) != "UPDATE 0"


def _membership(row: Row) -> MembershipRow:
    return MembershipRow(
        row["room_nid"], UserId(row["user_id"]), row["membership"], row["event_nid"], row["is_forgotten"]
    )
