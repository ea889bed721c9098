"""The tables `unread_pages` and `unread_marks`."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx

# Whose pages these are: everyone's, and the places whose events were redacted.
EVERYONE = UserId("")
REDACTED = UserId("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Places in a room's timeline, ascending. `room_nid` or `room_id`, by where it comes from."""

    room_nid: int
    user_id: UserId
    thread_id: str
    is_highlight: bool
    positions: array[int]
    room_id: RoomId | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A user has read up to here in a thread; with an empty thread id: joined here."""

    room_nid: int
    user_id: UserId
    thread_id: str
    position: int
    room_id: RoomId | None = None


# Locked, the rooms can't be deleted between the look at them and the row that is written of them.
_INSERT_PAGES = """
    INSERT INTO unread_pages (room_nid, user_id, thread_id, is_highlight, position_last, positions)
    SELECT new.* FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::boolean[], $5::bigint[], $6::bytea[]
    ) AS new(room_nid) JOIN rooms r ON r.room_nid = new.room_nid ORDER BY r.room_nid FOR KEY SHARE OF r
    ON CONFLICT DO NOTHING
"""
_UPSERT_MARKS = """
    INSERT INTO unread_marks (room_nid, user_id, thread_id, position)
    SELECT new.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) AS new(room_nid)
    JOIN rooms r ON r.room_nid = new.room_nid ORDER BY r.room_nid FOR KEY SHARE OF r
    ON CONFLICT (room_nid, user_id, thread_id) DO UPDATE SET
        position = greatest(unread_marks.position, excluded.position)
"""
_TRIM = """
    DELETE FROM unread_pages p USING unnest($1::bigint[], $2::bigint[]) AS room(nid, floor)
    WHERE p.room_nid = room.nid AND p.position_last <= room.floor
"""
_PAGES = """
    SELECT r.room_id, p.room_nid, p.user_id, p.thread_id, p.is_highlight, p.positions
    FROM rooms r JOIN unread_pages p USING (room_nid)
    WHERE r.room_id = ANY($1::text[]) AND p.user_id = ANY($2::text[])
    ORDER BY p.position_last
"""
_MARKS = """
    SELECT r.room_id, m.room_nid, m.user_id, m.thread_id, m.position
    FROM rooms r JOIN unread_marks m USING (room_nid)
    WHERE r.room_id = ANY($1::text[]) AND m.user_id = $2
"""


async def insert_pages(tx: Tx, pages: Sequence[Page]) -> None:
    await tx.execute(
        _INSERT_PAGES,
        [page.room_nid for page in pages],
        [page.user_id for page in pages],
        [page.thread_id for page in pages],
        [page.is_highlight for page in pages],
        [page.positions[-1] for page in pages],
        [page.positions.tobytes() for page in pages],
    )


async def upsert_marks(tx: Tx, marks: Sequence[Mark]) -> None:
    """`marks` must name each (room, user, thread) once."""
    await tx.execute(
        _UPSERT_MARKS,
        [mark.room_nid for mark in marks],
        [mark.user_id for mark in marks],
        [mark.thread_id for mark in marks],
        [mark.position for mark in marks],
    )


async def trim(tx: Tx, floors: dict[int, int]) -> None:
    """Deletes, by room nid, the pages that end at or before a position."""
    await tx.execute(_TRIM, list(floors), list(floors.values()))


async def pages(db: Reader, room_ids: Collection[RoomId], user_ids: Collection[UserId]) -> list[Page]:
    """The pages of these rooms that belong to these users, oldest first."""
    return [
        Page(
            room_nid=row["room_nid"],
            room_id=RoomId(row["room_id"]),
            user_id=UserId(row["user_id"]),
            thread_id=row["thread_id"],
            is_highlight=row["is_highlight"],
            positions=array("q", row["positions"]),
        )
        for row in await db.fetch(_PAGES, list(room_ids), list(user_ids))
    ]


async def marks(db: Reader, room_ids: Collection[RoomId], user_id: UserId) -> list[Mark]:
    return [
        Mark(row["room_nid"], UserId(row["user_id"]), row["thread_id"], row["position"], RoomId(row["room_id"]))
        for row in await db.fetch(_MARKS, list(room_ids), user_id)
    ]
