"""The table `rooms`: the rooms that this server knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from homeserver.core.identifiers import RoomId, ServerName, UserId
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.storage.database import Reader, Row, Tx
from homeserver.storage.partial_rooms import PartialRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """`forward_extremities` and `state_nid` are None while the newest event says both.

    `partial` is read by `by_ids` alone.
    """

    nid: int
    room_id: RoomId
    version: RoomVersion
    creator: UserId
    is_published: bool
    forward_extremities: Sequence[int] | None
    state_nid: int | None
    partial: PartialRow | None = None


_COLUMNS = "room_nid, room_id, version, creator, is_published, forward_extremities, state_nid"
_INSERT = "INSERT INTO rooms (room_nid, room_id, version, creator, is_published) VALUES ($1, $2, $3, $4, $5)"
_BY_IDS = f"""
    SELECT {_COLUMNS}, p.join_nid, p.before_nid, p.servers, p.whole_at, p.awaits_keys FROM rooms
    LEFT JOIN (
        SELECT room_nid, join_nid, state_nid AS before_nid, servers, whole_at, awaits_keys FROM partial_rooms
    ) p USING (room_nid)
    WHERE room_id = ANY($1::text[])
"""
_BY_NIDS = f"SELECT {_COLUMNS} FROM rooms WHERE room_nid = ANY($1::bigint[])"
_SET_HEADS = "UPDATE rooms SET forward_extremities = $2, state_nid = $3 WHERE room_nid = $1"
_SET_PUBLISHED = "UPDATE rooms SET is_published = $2 WHERE room_id = $1"
_PUBLISHED = f"SELECT {_COLUMNS} FROM rooms WHERE is_published ORDER BY room_nid"
_NUMBERED = "SELECT room_nid, room_id FROM rooms"


async def insert(tx: Tx, room: RoomRow) -> None:
    await tx.execute(_INSERT, room.nid, room.room_id, room.version.id, room.creator, room.is_published)


async def by_ids(db: Reader, room_ids: Collection[RoomId]) -> list[RoomRow]:
    return [replace(_room(row), partial=_partial(row)) for row in await db.fetch(_BY_IDS, list(room_ids))]


async def by_nids(db: Reader, nids: Collection[int]) -> list[RoomRow]:
    return [_room(row) for row in await db.fetch(_BY_NIDS, list(nids))]


@dataclass(frozen=True, slots=True)
class Heads:
    """Where a room's graph ends: None while the newest event says it."""

    room_nid: int
    forward_extremities: Sequence[int] | None
    state_nid: int | None


async def set_heads(tx: Tx, heads: Heads) -> None:
    await tx.execute(_SET_HEADS, heads.room_nid, heads.forward_extremities, heads.state_nid)


async def published(db: Reader) -> list[RoomRow]:
    """The rooms of the directory, oldest first."""
    return [_room(row) for row in await db.fetch(_PUBLISHED)]


async def numbered(db: Reader) -> list[tuple[int, RoomId]]:
    """Number and id of every room there is."""
    return [(row["room_nid"], RoomId(row["room_id"])) for row in await db.fetch(_NUMBERED)]


async def set_published(tx: Tx, room_id: RoomId, is_published: bool) -> None:
    await tx.execute(_SET_PUBLISHED, room_id, is_published)


def _partial(row: Row) -> PartialRow | None:
    if row["join_nid"] is None:
        return None
    return PartialRow(
        room_nid=row["room_nid"],
        join_nid=row["join_nid"],
        state_nid=row["before_nid"],
        servers=dict.fromkeys(map(ServerName, row["servers"])),
        whole_at=row["whole_at"],
        awaits_keys=row["awaits_keys"],
    )


def _room(row: Row) -> RoomRow:
    return RoomRow(
        nid=row["room_nid"],
        room_id=RoomId(row["room_id"]),
        version=ROOM_VERSIONS[row["version"]],
        creator=UserId(row["creator"]),
        is_published=row["is_published"],
        forward_extremities=row["forward_extremities"],
        state_nid=row["state_nid"],
    )
