"""The table `spam_list_bans`: bans that policy lists made, room by room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class ListBanRow:
    """`made_ts` is from before the ban was sent, in milliseconds; `event_id` is empty where the server stopped then."""

    room_id: RoomId
    user_id: UserId
    made_ts: int
    event_id: str


_ALL = "SELECT room_id, user_id, made_ts, event_id FROM spam_list_bans ORDER BY room_id, user_id"
_BEGIN = """
    INSERT INTO spam_list_bans (room_id, user_id, made_ts) VALUES ($1, $2, $3)
    ON CONFLICT (room_id, user_id) DO UPDATE SET made_ts = excluded.made_ts, event_id = ''
"""
_MADE = "UPDATE spam_list_bans SET event_id = $3 WHERE room_id = $1 AND user_id = $2"
_FORGET = "DELETE FROM spam_list_bans WHERE room_id = $1 AND user_id = ANY($2::text[])"


async def all_of_them(db: Reader) -> dict[RoomId, list[ListBanRow]]:
    """By room."""
    found: dict[RoomId, list[ListBanRow]] = {}
    for row in await db.fetch(_ALL):
        one = ListBanRow(RoomId(row["room_id"]), UserId(row["user_id"]), row["made_ts"], row["event_id"])
        found.setdefault(one.room_id, []).append(one)
    return found


async def begin(tx: Tx, room_id: RoomId, user_id: UserId, now_ms: int) -> None:
    """A ban is about to be sent."""
    await tx.execute(_BEGIN, room_id, user_id, now_ms)


async def made(tx: Tx, room_id: RoomId, user_id: UserId, event_id: EventId) -> None:
    await tx.execute(_MADE, room_id, user_id, event_id)


async def forget(tx: Tx, room_id: RoomId, user_ids: Sequence[UserId]) -> None:
    await tx.execute(_FORGET, room_id, list(user_ids))
