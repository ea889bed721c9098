"""The table `staged_pdus`: what was acknowledged to other servers and waits for its room's writer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPdu:
    """`nid` is 0 until it is stored; `is_later` where it was put off, and its time has come."""

    nid: int = 0
    room_id: RoomId
    event_id: EventId
    origin: ServerName
    received_ms: int
    json: bytes
    tries: int = 0
    is_later: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """How many events of a server wait for a room, and how many bytes they have."""

    room_id: RoomId
    origin: ServerName
    is_later: bool
    events: int
    size: int


_INSERT = """
    WITH again AS (
        UPDATE staged_pdus SET due_ms = 0 FROM unnest($1::text[], $2::text[]) AS sent(room_id, event_id)
        WHERE staged_pdus.room_id = sent.room_id AND staged_pdus.event_id = sent.event_id AND due_ms > 0
    )
    INSERT INTO staged_pdus (room_id, event_id, origin, received_ms, json)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])
    ON CONFLICT DO NOTHING
"""
_OF_ROOM = """
    SELECT staged_nid, room_id, event_id, origin, received_ms, json, tries, due_ms FROM staged_pdus
    WHERE room_id = $1 AND (due_ms <= $3 OR due_ms > $4) ORDER BY staged_nid LIMIT $2
"""
_LOADS = """
    SELECT room_id, origin, due_ms > 0 AS is_later, count(*) AS events, sum(octet_length(json)) AS size
    FROM staged_pdus GROUP BY room_id, origin, due_ms > 0
"""
_WAITING = """
    SELECT event_id, due_ms > 0 AS is_later FROM staged_pdus WHERE room_id = $1 AND event_id = ANY($2::text[])
"""
_DUE = "SELECT DISTINCT room_id FROM staged_pdus WHERE due_ms > 0 AND (due_ms <= $1 OR due_ms > $2)"
_LATER = """
    UPDATE staged_pdus SET tries = tries + 1, due_ms = later.due_ms
    FROM unnest($1::bigint[], $2::bigint[]) AS later(nid, due_ms) WHERE staged_nid = later.nid
"""
_DELETE = "DELETE FROM staged_pdus WHERE staged_nid = ANY($1::bigint[])"


async def insert(tx: Tx, pdus: Sequence[StagedPdu]) -> None:
    """Those that wait already, and are sent again, wait no longer."""
    await tx.execute(
        _INSERT,
        [pdu.room_id for pdu in pdus],
        [pdu.event_id for pdu in pdus],
        [pdu.origin for pdu in pdus],
        [pdu.received_ms for pdu in pdus],
        [pdu.json for pdu in pdus],
    )


async def of_room(db: Reader, room_id: RoomId, limit: int, now_ms: int, *, wait_ms_max: int) -> list[StagedPdu]:
    """The oldest of a room, without those that are to wait longer.

    One that would wait for more than `wait_ms_max` was put off by a clock that has been put back since: it waits no
    longer.
    """
    return [
        StagedPdu(
            nid=row["staged_nid"],
            room_id=RoomId(row["room_id"]),
            event_id=EventId(row["event_id"]),
            origin=ServerName(row["origin"]),
            received_ms=row["received_ms"],
            json=row["json"],
            tries=row["tries"],
            is_later=row["due_ms"] > 0,
        )
        for row in await db.fetch(_OF_ROOM, room_id, limit, now_ms, now_ms + wait_ms_max)
    ]


async def loads(db: Reader) -> list[Load]:
    """All that waits, by room and server: asked at the start, and now and then. Reads every row's size."""
    return [
        Load(RoomId(row["room_id"]), ServerName(row["origin"]), row["is_later"], row["events"], int(row["size"]))
        for row in await db.fetch(_LOADS)
    ]


async def waiting(db: Reader, room_id: RoomId, event_ids: Collection[EventId]) -> dict[EventId, bool]:
    """Those of these that wait for the room; of each whether it was put off."""
    rows = await db.fetch(_WAITING, room_id, list(event_ids))
    return {EventId(row["event_id"]): row["is_later"] for row in rows}


async def due(db: Reader, now_ms: int, *, wait_ms_max: int) -> list[RoomId]:
    """Rooms in which something has waited long enough to be tried again; `wait_ms_max` as for `of_room`."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_DUE, now_ms, now_ms + wait_ms_max)]


async def put_off(tx: Tx, due_ms: Mapping[int, int]) -> None:
    """Has these (by nid) tried again not before their times."""
    await tx.execute(_LATER, list(due_ms), list(due_ms.values()))


async def delete(tx: Tx, nids: Collection[int]) -> None:
    await tx.execute(_DELETE, list(nids))
