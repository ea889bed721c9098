"""The table `room_aliases`: names of rooms that this server gave out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import RoomAlias, RoomId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class AliasRow:
    alias: RoomAlias
    room_id: RoomId
    creator: UserId


_INSERT = "INSERT INTO room_aliases (alias, room_id, creator) VALUES ($1, $2, $3) ON CONFLICT (alias) DO NOTHING"
_BY_ALIASES = "SELECT alias, room_id, creator FROM room_aliases WHERE alias = ANY($1::text[])"
_OF_ROOM = "SELECT alias FROM room_aliases WHERE room_id = $1 ORDER BY alias"
_OF_ROOMS = "SELECT room_id, alias FROM room_aliases WHERE room_id = ANY($1::text[])"
_COUNT = "SELECT count(*) FROM room_aliases WHERE room_id = $1"
_DELETE = "DELETE FROM room_aliases WHERE alias = $1 AND room_id = $2"
_MOVE = "UPDATE room_aliases SET room_id = $2 WHERE room_id = $1"


async def insert(tx: Tx, row: AliasRow) -> bool:
    """Whether the alias was free, and now is this room's."""
    return (await tx.execute(_INSERT, row.alias, row.room_id, row.creator)) != "INSERT 0 0"


async def by_aliases(db: Reader, aliases: Collection[RoomAlias]) -> dict[RoomAlias, AliasRow]:
    """These aliases; those that don't exist are left out. One query."""
    rows = await db.fetch(_BY_ALIASES, list(aliases))
    found = [AliasRow(RoomAlias(row["alias"]), RoomId(row["room_id"]), UserId(row["creator"])) for row in rows]
    return {row.alias: row for row in found}


async def of_room(db: Reader, room_id: RoomId) -> list[RoomAlias]:
    return [RoomAlias(row["alias"]) for row in await db.fetch(_OF_ROOM, room_id)]


async def of_rooms(db: Reader, room_ids: Collection[RoomId]) -> dict[RoomId, list[RoomAlias]]:
    """The aliases of these rooms; rooms without one are left out. One query."""
    found: dict[RoomId, list[RoomAlias]] = {}
    for row in await db.fetch(_OF_ROOMS, list(room_ids)):
        found.setdefault(RoomId(row["room_id"]), []).append(RoomAlias(row["alias"]))
    return found


async def count(db: Reader, room_id: RoomId) -> int:
    return int(await db.fetchval(_COUNT, room_id))


async def delete(tx: Tx, alias: RoomAlias, room_id: RoomId) -> bool:
    """Whether the alias was there and pointed to this room."""
    return (await tx.execute(_DELETE, alias, room_id)) != "DELETE 0"


async def move(tx: Tx, old: RoomId, new: RoomId) -> None:
    """Lets all aliases of one room point to another."""
    await tx.execute(_MOVE, old, new)
