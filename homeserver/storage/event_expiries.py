"""The table `event_expiries`: events that go by themselves, and when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Reader, Tx

CONSUMER = "event_expiries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiring:
    """An event and when it goes: at a time (ms), or some time after somebody else read it."""

    event_nid: int
    room_id: RoomId
    place: int
    sender: UserId
    expires_ts: int | None = None
    after_read_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DueEvent:
    event_nid: int
    event_id: EventId
    room_id: RoomId
    sender: UserId
    is_redacted: bool


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody's receipt. `is_upto`: for all up to this place, not for the one event alone."""

    room_id: RoomId
    user_id: UserId
    place: int
    is_upto: bool


_INSERT = """
    INSERT INTO event_expiries (event_nid, room_id, place, sender, expires_ts, after_read_ms)
    SELECT new.* FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])
        AS new(event_nid, room_id, place, sender, expires_ts, after_read_ms)
    JOIN events USING (event_nid)
    ON CONFLICT (event_nid) DO UPDATE SET expires_ts = least(event_expiries.expires_ts, excluded.expires_ts)
"""
_READ = """
    UPDATE event_expiries x SET expires_ts = $5 + after_read_ms
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[]) AS receipt(room_id, user_id, place, is_upto)
    WHERE x.expires_ts IS NULL AND x.room_id = receipt.room_id AND x.sender <> receipt.user_id
        AND (x.place = receipt.place OR receipt.is_upto AND x.place < receipt.place)
    RETURNING x.expires_ts
"""
# What was read while nobody looked: after a crash.
_READ_EARLIER = """
    UPDATE event_expiries x SET expires_ts = r.ts + x.after_read_ms FROM receipts r
    WHERE x.expires_ts IS NULL AND r.room_id = x.room_id AND r.user_id <> x.sender AND r.receipt_type = 'm.read'
        AND (x.place = r.event_ordering OR r.thread_id = '' AND x.place < r.event_ordering)
"""
# What was read before it was known that reading begins its time.
_READ_ALREADY = f"{_READ_EARLIER.rstrip()} AND x.event_nid = ANY($1::bigint[]) RETURNING x.expires_ts"
# A hold keeps them, hidden or not, until it is released.
_DUE = """
    SELECT x.event_nid, e.event_id, x.room_id, x.sender, e.redacted_by IS NOT NULL AS is_redacted
    FROM event_expiries x JOIN events e USING (event_nid)
    WHERE x.expires_ts <= $1
        AND NOT EXISTS (SELECT FROM held_rooms h WHERE h.room_id = x.room_id)
        AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = x.sender)
    ORDER BY x.expires_ts LIMIT $2
"""
_NEXT = "SELECT min(expires_ts) FROM event_expiries"
_UNREAD_ROOMS = "SELECT DISTINCT room_id FROM event_expiries WHERE expires_ts IS NULL"
_DONE = "DELETE FROM event_expiries WHERE event_nid = ANY($1::bigint[])"
_KEEP = "DELETE FROM event_expiries WHERE event_nid = $1"
_ERASE_NOW = "UPDATE event_erasures SET redacted_ts = 0 WHERE event_nid = ANY($1::bigint[])"
_LATER = "UPDATE event_expiries SET expires_ts = $2 WHERE event_nid = ANY($1::bigint[])"


async def insert(tx: Tx, rows: Sequence[Expiring]) -> None:
    """Those that are there keep the earlier time."""
    await tx.execute(
        _INSERT,
        [row.event_nid for row in rows],
        [row.room_id for row in rows],
        [row.place for row in rows],
        [row.sender for row in rows],
        [row.expires_ts for row in rows],
        [row.after_read_ms for row in rows],
    )


async def read(tx: Tx, receipts: Sequence[Read], now_ms: int) -> list[int]:
    """Begins the time of what was waiting to be read; when each ends."""
    rows = await tx.fetch(
        _READ,
        [one.room_id for one in receipts],
        [one.user_id for one in receipts],
        [one.place for one in receipts],
        [one.is_upto for one in receipts],
        now_ms,
    )
    return [row["expires_ts"] for row in rows]


async def read_earlier(tx: Tx) -> None:
    await tx.execute(_READ_EARLIER)


async def read_already(tx: Tx, event_nids: Collection[int]) -> list[int]:
    """Begins the time of those of these that somebody has read; when each ends."""
    return [row["expires_ts"] for row in await tx.fetch(_READ_ALREADY, list(event_nids))]


async def keep(tx: Tx, event_nid: int) -> bool:
    """Has an event stay. Whether it was about to go."""
    return (await tx.execute(_KEEP, event_nid)).endswith(" 1")


async def due(db: Reader, now_ms: int, limit: int) -> list[DueEvent]:
    """Those whose time is over, the oldest first; none that a legal hold keeps."""
    return [DueEvent(**row) for row in await db.fetch(_DUE, now_ms, limit)]


async def next_ts(db: Reader) -> int | None:
    """When the next one is due."""
    found: int | None = await db.fetchval(_NEXT)
    return found


async def unread_rooms(db: Reader) -> set[RoomId]:
    """Rooms in which something waits to be read."""
    return {RoomId(row["room_id"]) for row in await db.fetch(_UNREAD_ROOMS)}


async def done(tx: Tx, event_nids: Collection[int]) -> None:
    """They are redacted: what they said is due to be erased now."""
    await tx.execute(_ERASE_NOW, list(event_nids))
    await tx.execute(_DONE, list(event_nids))


async def later(tx: Tx, event_nids: Collection[int], ts_ms: int) -> None:
    """Has them tried again."""
    await tx.execute(_LATER, list(event_nids), ts_ms)
