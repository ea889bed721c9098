"""The table `receipts`: up to where each user has read, publicly, privately and by the read marker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Database, Reader, Row

# Threads in which one user keeps receipts of one kind in a room; the least recent ones go.
THREADS_MAX = 1_000
# The place of a receipt at an event that isn't here: before all that are.
UNKNOWN = -(2**62)
# So many of them, the newest, are shown to who comes to a room.
UNKNOWN_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`thread_id` is empty for an unthreaded receipt."""

    room_id: RoomId
    user_id: UserId
    receipt_type: str
    thread_id: str
    event_id: EventId
    event_ordering: int
    ts: int
    position: int


# Never backwards: a row changes only for a later place in the timeline.
_SET = f"""
    WITH written AS (
        INSERT INTO receipts (room_id, user_id, receipt_type, thread_id, event_id, event_ordering, ts, position)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[]
        )
        ON CONFLICT (room_id, user_id, receipt_type, thread_id) DO UPDATE SET
            event_id = excluded.event_id, event_ordering = excluded.event_ordering,
            ts = excluded.ts, position = excluded.position
        WHERE receipts.event_ordering < excluded.event_ordering
            OR (receipts.event_ordering = excluded.event_ordering AND excluded.event_ordering = {UNKNOWN}
                AND receipts.event_id <> excluded.event_id)
        RETURNING room_id, user_id, receipt_type, thread_id
    ), dropped AS (
        DELETE FROM receipts old USING written new
        WHERE (old.room_id, old.user_id, old.receipt_type) = (new.room_id, new.user_id, new.receipt_type)
            AND new.thread_id <> '' AND old.position < (
                SELECT kept.position FROM receipts kept
                WHERE (kept.room_id, kept.user_id, kept.receipt_type) = (new.room_id, new.user_id, new.receipt_type)
                ORDER BY kept.position DESC OFFSET $9 LIMIT 1
            )
    )
    SELECT receipt_type, thread_id FROM written
"""
_COLUMNS = "room_id, user_id, receipt_type, thread_id, event_id, event_ordering, ts, position"
_OF_ROOMS = f"""
    SELECT {_COLUMNS} FROM receipts
    WHERE room_id = ANY($1::text[]) AND position > $2 AND position <= $3
        AND (receipt_type = 'm.read' OR (receipt_type = 'm.read.private' AND user_id = $4))
    ORDER BY position
"""
_MARKERS = f"""
    SELECT {_COLUMNS} FROM receipts
    WHERE user_id = $1 AND position > $2 AND position <= $3 AND receipt_type = 'm.fully_read'
"""
_MARKER = f"""
    SELECT {_COLUMNS} FROM receipts
    WHERE room_id = $1 AND user_id = $2 AND receipt_type = 'm.fully_read' AND thread_id = ''
"""
_MARKERS_IN = f"""
    SELECT {_COLUMNS} FROM receipts
    WHERE user_id = $1 AND room_id = ANY($2::text[]) AND receipt_type = 'm.fully_read' AND thread_id = ''
"""
_READ_ROOMS = """
    SELECT DISTINCT room_id FROM receipts
    WHERE user_id = $1 AND position > $2 AND position <= $3 AND receipt_type <> 'm.fully_read'
"""
_NEAR = f"""
    SELECT {_COLUMNS} FROM (
        SELECT {_COLUMNS} FROM unnest($1::text[], $2::bigint[]) AS wanted(id, place)
        JOIN receipts ON room_id = wanted.id AND (event_ordering >= wanted.place OR user_id = $3)
        WHERE receipt_type = 'm.read' OR (receipt_type = 'm.read.private' AND user_id = $3)
        UNION ALL
        SELECT early.* FROM unnest($1::text[]) AS wanted(id), LATERAL (
            SELECT {_COLUMNS} FROM receipts WHERE room_id = wanted.id AND event_ordering = {UNKNOWN}
            ORDER BY position DESC LIMIT {UNKNOWN_SHOWN_MAX}
        ) AS early
    ) AS found ORDER BY position
"""
_OWN = f"""
    SELECT {_COLUMNS} FROM receipts
    WHERE user_id = $1 AND room_id = ANY($2::text[]) AND receipt_type IN ('m.read', 'm.read.private')
"""


async def advance(db: Database, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Writes these receipts of one user, and gives those that moved forwards. One statement."""
    rows = await db.fetch(
        _SET,
        [r.room_id for r in receipts],
        [r.user_id for r in receipts],
        [r.receipt_type for r in receipts],
        [r.thread_id for r in receipts],
        [r.event_id for r in receipts],
        [r.event_ordering for r in receipts],
        [r.ts for r in receipts],
        [r.position for r in receipts],
        THREADS_MAX,
    )
    moved = {(row["receipt_type"], row["thread_id"]) for row in rows}
    return [receipt for receipt in receipts if (receipt.receipt_type, receipt.thread_id) in moved]


async def of_rooms(db: Reader, room_ids: Collection[RoomId], since: int, upto: int, viewer: UserId) -> list[Receipt]:
    """What `viewer` may see in these rooms, written in (since, upto], in order: private receipts only their own."""
    return [_receipt(row) for row in await db.fetch(_OF_ROOMS, list(room_ids), since, upto, viewer)]


async def markers(db: Reader, user_id: UserId, since: int, upto: int) -> list[Receipt]:
    """A user's read markers that were written in (since, upto]."""
    return [_receipt(row) for row in await db.fetch(_MARKERS, user_id, since, upto)]


async def marker(db: Reader, room_id: RoomId, user_id: UserId) -> Receipt | None:
    row = await db.fetchrow(_MARKER, room_id, user_id)
    return _receipt(row) if row else None


async def markers_in(db: Reader, user_id: UserId, room_ids: Collection[RoomId]) -> list[Receipt]:
    """A user's read markers of these rooms."""
    return [_receipt(row) for row in await db.fetch(_MARKERS_IN, user_id, list(room_ids))]


async def read_rooms(db: Reader, user_id: UserId, since: int, upto: int) -> list[RoomId]:
    """The rooms that a user read in, in (since, upto]."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_READ_ROOMS, user_id, since, upto)]


async def near(db: Reader, places: Mapping[RoomId, int], viewer: UserId) -> list[Receipt]:
    """Receipts at events from a place of each room's timeline on, and all of the viewer's own."""
    return [_receipt(row) for row in await db.fetch(_NEAR, list(places), list(places.values()), viewer)]


async def own(db: Reader, user_id: UserId, room_ids: Collection[RoomId]) -> list[Receipt]:
    """A user's receipts of both kinds in these rooms."""
    return [_receipt(row) for row in await db.fetch(_OWN, user_id, list(room_ids))]


def _receipt(row: Row) -> Receipt:
    return Receipt(
        room_id=RoomId(row["room_id"]),
        user_id=UserId(row["user_id"]),
        receipt_type=row["receipt_type"],
        thread_id=row["thread_id"],
        event_id=EventId(row["event_id"]),
        event_ordering=row["event_ordering"],
        ts=row["ts"],
        position=row["position"],
    )
