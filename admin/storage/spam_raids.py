"""The table `spam_raids`: rooms that are locked for a while."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import RoomId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class RaidRow:
    """`before` and `during` are JSON: the content of the event that was replaced, and of the one in its place."""

    room_id: RoomId
    how: str
    because: str
    since_ts: int
    until_ts: int
    before: str
    during: str


_COLUMNS = "room_id, how, because, since_ts, until_ts, before, during"
_ALL = f"SELECT {_COLUMNS} FROM spam_raids ORDER BY room_id"
_ADD = f"INSERT INTO spam_raids ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_PROLONG = "UPDATE spam_raids SET until_ts = $2 WHERE room_id = $1"
_END = "DELETE FROM spam_raids WHERE room_id = $1"


async def all_of_them(db: Reader) -> list[RaidRow]:
    return [RaidRow(**dict(row)) for row in await db.fetch(_ALL)]


async def add(tx: Tx, raid: RaidRow) -> None:
    await tx.execute(_ADD, raid.room_id, raid.how, raid.because, raid.since_ts, raid.until_ts, raid.before, raid.during)


async def prolong(tx: Tx, room_id: RoomId, until_ms: int) -> None:
    await tx.execute(_PROLONG, room_id, until_ms)


async def end(tx: Tx, room_id: RoomId) -> None:
    await tx.execute(_END, room_id)
