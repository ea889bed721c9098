"""The table `legal_holds`: rooms and users of whom nothing is erased until they are released.

Whatever deletes content leaves out what the views `held_rooms` and `held_users` name, in the statement that deletes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx

Kind = Literal["room", "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold. Times in milliseconds; `released_ts` is None while it is in force."""

    hold_id: str
    kind: Kind
    target: str
    reason: str
    set_by: str
    set_ts: int
    released_by: str | None = None
    released_ts: int | None = None


_COLUMNS = "hold_id, kind, target, reason, set_by, set_ts, released_by, released_ts"
_INSERT = """
    INSERT INTO legal_holds (hold_id, kind, target, reason, set_by, set_ts) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
"""
_ONE = f"SELECT {_COLUMNS} FROM legal_holds WHERE hold_id = $1"
_PAGE = f"""
    SELECT {_COLUMNS} FROM legal_holds
    WHERE (NOT $1 OR released_ts IS NULL) AND ($2::text IS NULL OR target = $2)
    ORDER BY set_ts DESC, hold_id DESC LIMIT $3
"""
_RELEASE = """
    UPDATE legal_holds SET released_by = $2, released_ts = $3 WHERE hold_id = $1 AND released_ts IS NULL
"""
_ROOM = "SELECT EXISTS (SELECT FROM held_rooms WHERE room_id = $1)"
_USER = "SELECT EXISTS (SELECT FROM held_users WHERE user_id = $1)"
_ROOMS = "SELECT room_id FROM held_rooms"
_USERS = "SELECT user_id FROM held_users"
_IN_ROOM = """
    SELECT m.user_id FROM memberships m JOIN rooms r USING (room_nid) JOIN held_users h ON h.user_id = m.user_id
    WHERE r.room_id = $1 ORDER BY m.user_id LIMIT 1
"""
# Their messages were passed over while they were held: they expire when the rooms are gone through once more.
_EXPIRE_ANEW = """
    UPDATE room_facts SET expired_upto = DEFAULT
    WHERE room_nid IN (SELECT room_nid FROM memberships WHERE user_id = $1)
"""


async def insert(tx: Tx, hold: Hold) -> bool:
    """False where the target is held already."""
    done = await tx.execute(_INSERT, hold.hold_id, hold.kind, hold.target, hold.reason, hold.set_by, hold.set_ts)
    return done == "INSERT 0 1"


async def one(db: Reader, hold_id: str) -> Hold | None:
    row = await db.fetchrow(_ONE, hold_id)
    return _hold(row) if row is not None else None


async def page(db: Reader, *, in_force: bool, target: str | None, limit: int) -> list[Hold]:
    """The newest first."""
    return [_hold(row) for row in await db.fetch(_PAGE, in_force, target, limit)]


async def release(tx: Tx, hold: Hold, by: str, now_ms: int) -> bool:
    """False where it was released before."""
    if (await tx.execute(_RELEASE, hold.hold_id, by, now_ms)) != "UPDATE 1":
        return False
    if hold.kind == "user":
        await tx.execute(_EXPIRE_ANEW, hold.target)
    return True


async def is_room_held(db: Reader, room_id: RoomId) -> bool:
    held: bool = await db.fetchval(_ROOM, room_id)
    return held


async def is_user_held(db: Reader, user_id: UserId) -> bool:
    held: bool = await db.fetchval(_USER, user_id)
    return held


async def rooms(db: Reader) -> frozenset[RoomId]:
    """All rooms that are held: what moves or rewrites stored content leaves them as they are."""
    return frozenset(RoomId(row["room_id"]) for row in await db.fetch(_ROOMS))


async def users(db: Reader) -> frozenset[UserId]:
    """All users who are held."""
    return frozenset(UserId(row["user_id"]) for row in await db.fetch(_USERS))


async def held_member(db: Reader, room_id: RoomId) -> UserId | None:
    """Somebody held who is or was in a room."""
    found = await db.fetchval(_IN_ROOM, room_id)
    return UserId(found) if found is not None else None


def _hold(row: Row) -> Hold:
    return Hold(**row)
