"""The table `events`: every event that this server has, with its place in its room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import DeviceId, EventId, UserId
from homeserver.core.room import KNOT
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.storage import bodies
from homeserver.storage.bodies import Line
from homeserver.storage.database import Reader, Row, Tx

log = structlog.get_logger()

REJECTED = 1
SOFT_FAILED = 2
# In no row: what stands for an event whose body can't be read.
LOST = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A row to be written. `nid` is the journal position."""

    nid: int
    room_nid: int
    ordering: int | None
    event: Event
    state_nid: int | None
    replaces: int | None = None
    key_nid: int | None = None
    flags: int = 0
    device_id: DeviceId | None = None
    txn_id: str | None = None
    txn_key: UUID | None = None
    json: bytes


@dataclass(slots=True, kw_only=True, eq=False)
class StoredEvent:
    """An event with what the database knows of it: a value, but for `rendered`, where its client form is kept.

    `event` is the redacted form once it was redacted.
    """

    nid: int
    room_nid: int
    ordering: int | None
    event: Event
    state_nid: int | None
    replaces: int | None
    redacted_by: int | None
    flags: int
    device_id: DeviceId | None
    txn_id: str | None
    size_bytes: int
    rendered: tuple[bytes, bytes, UserId | None] | None = None

    @property
    def state_after(self) -> int | None:
        """The number of the state after the event; None where it isn't known, or there is none."""
        # Of what is older than the server's own time in a room only an approximate state is known.
        if self.event.is_state and not self.flags & REJECTED and self.has_place and self.is_followed:
            return self.nid
        return self.state_nid

    @property
    def has_place(self) -> bool:
        """Whether it is part of the room's graph here, rather than an event that others only cite as state."""
        return self.ordering is not None or self.state_nid is not None

    @property
    def is_followed(self) -> bool:
        """Whether the room's state was followed through it: not so for what was fetched later than what follows it."""
        return self.ordering is None or self.ordering >= self.nid

    @property
    def is_shown(self) -> bool:
        """Whether others may ever see it: neither rejected nor soft-failed nor outside of the timeline."""
        return self.flags == 0 and self.ordering is not None

    @property
    def is_lost(self) -> bool:
        """Whether this stands for an event whose body can't be read now: its place, sender and time are right, no more.

        It is never shown, and nothing may be made of its content.
        """
        return bool(self.flags & LOST)

    @property
    def is_for_people(self) -> bool:
        """Whether clients may: not what only servers have a use for."""
        return self.is_shown and self.event.type != KNOT


INSERT = """
    INSERT INTO events (
        event_nid, room_nid, ordering, depth, origin_server_ts, state_nid, replaces, key_nid, flags,
        event_id, sender, device_id, txn_id, txn_key, json
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::integer[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::bytea[]
    )
"""

_COLUMNS = """
    e.event_nid, e.room_nid, e.ordering, e.state_nid, e.replaces, e.redacted_by, e.flags, e.event_id, e.device_id,
    e.txn_id, e.json, r.version
"""

_BY_NIDS = f"SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_nid) WHERE e.event_nid = ANY($1::bigint[])"

_BY_IDS = f"SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_nid) WHERE e.event_id = ANY($1::text[])"

_ROWS_ALONE = """
    SELECT e.event_nid, e.room_nid, e.ordering, e.state_nid, e.replaces, e.redacted_by, e.flags, e.event_id,
        e.device_id, e.txn_id, r.version, r.room_id, e.sender, e.depth, e.origin_server_ts
    FROM events e JOIN rooms r USING (room_nid) WHERE e.event_id = ANY($1::text[])
"""

_AS_SENT = "SELECT event_nid, event_id, json FROM events WHERE event_nid = ANY($1::bigint[])"

# More rows than this are made into events in a thread.
_INLINE_MAX = 250
_NEWEST = f"""
    SELECT {_COLUMNS} FROM unnest($1::bigint[]) AS wanted(nid)
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE room_nid = wanted.nid AND ordering IS NOT NULL ORDER BY ordering DESC LIMIT 1
    ) e
    JOIN rooms r ON r.room_nid = e.room_nid
"""

_NEWEST_POSITIONS = """
    SELECT wanted.nid AS room_nid, e.ordering AS position FROM unnest($1::bigint[]) AS wanted(nid)
    CROSS JOIN LATERAL (
        SELECT ordering FROM events WHERE room_nid = wanted.nid AND ordering IS NOT NULL ORDER BY ordering DESC LIMIT 1
    ) e
"""

_BACKWARDS = """
    SELECT event_nid FROM events
    WHERE room_nid = $1 AND ordering < $2 AND ordering > $3 AND flags = 0 ORDER BY ordering DESC LIMIT $4
"""

_FORWARDS = """
    SELECT event_nid FROM events
    WHERE room_nid = $1 AND ordering > $2 AND ordering < $3 AND flags = 0 ORDER BY ordering LIMIT $4
"""

_WINDOWS = """
    SELECT wanted.nid AS room_nid, e.event_nid
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, after, upto)
    CROSS JOIN LATERAL (
        SELECT event_nid, ordering FROM events
        WHERE room_nid = wanted.nid AND ordering > wanted.after AND ordering <= wanted.upto AND flags = 0
        ORDER BY ordering DESC LIMIT $4
    ) e
    ORDER BY e.ordering
"""

_AROUND = """
    SELECT wanted.nid, e.event_nid, e.ordering < wanted.place AS is_before
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, room_nid, place)
    CROSS JOIN LATERAL (
        (SELECT event_nid, ordering FROM events
        WHERE room_nid = wanted.room_nid AND ordering < wanted.place AND flags = 0 ORDER BY ordering DESC LIMIT $4)
        UNION ALL
        (SELECT event_nid, ordering FROM events
        WHERE room_nid = wanted.room_nid AND ordering > wanted.place AND flags = 0 ORDER BY ordering LIMIT $5)
    ) e
"""

_BY_TXN_KEYS = "SELECT txn_key, event_id FROM events WHERE txn_key = ANY($1::uuid[])"

# A jump at an event's own position says what became of the state there, so it comes after the event.
_STATE_CHANGES = """
    SELECT DISTINCT ON (room_nid, key_nid) room_nid, key_nid, event_nid FROM (
        SELECT e.room_nid, e.key_nid, e.event_nid, e.ordering, 0 AS turn
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, after, upto)
        JOIN events e ON e.room_nid = wanted.nid AND e.ordering > wanted.after AND e.ordering <= wanted.upto
        WHERE e.key_nid IS NOT NULL AND e.flags = 0
        UNION ALL
        SELECT j.room_nid, j.key_nid, j.event_nid, j.position, 1
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, after, upto)
        JOIN state_jumps j ON j.room_nid = wanted.nid AND j.position > wanted.after AND j.position <= wanted.upto
    ) AS changes
    ORDER BY room_nid, key_nid, ordering DESC, turn DESC
"""

_STATE_HISTORY = """
    SELECT room_nid, key_nid, ordering, event_nid, 0 AS turn FROM events
    WHERE room_nid = ANY($1::bigint[]) AND key_nid = ANY($2::integer[]) AND ordering IS NOT NULL AND flags = 0
    UNION ALL
    SELECT room_nid, key_nid, position, event_nid, 1 FROM state_jumps
    WHERE room_nid = ANY($1::bigint[]) AND key_nid = ANY($2::integer[])
    ORDER BY room_nid, ordering, turn
"""

_NEAREST_AFTER = """
    SELECT event_nid FROM events WHERE room_nid = $1 AND ordering IS NOT NULL AND flags = 0 AND origin_server_ts >= $2
    ORDER BY origin_server_ts, ordering LIMIT 1
"""

_NEAREST_BEFORE = """
    SELECT event_nid FROM events WHERE room_nid = $1 AND ordering IS NOT NULL AND flags = 0 AND origin_server_ts <= $2
    ORDER BY origin_server_ts DESC, ordering DESC LIMIT 1
"""

_SET_REDACTED = """
    WITH redacted AS (
        UPDATE events SET redacted_by = by.nid FROM unnest($1::bigint[], $2::bigint[]) AS by(target, nid)
        WHERE event_nid = by.target AND redacted_by IS NULL RETURNING event_nid
    )
    INSERT INTO event_erasures (event_nid) SELECT event_nid FROM redacted ON CONFLICT DO NOTHING
"""

_AFTER_POSITION = """
    SELECT event_nid, ordering FROM (
        SELECT event_nid, ordering FROM events
        WHERE event_nid > $1 AND event_nid <= $2 AND ordering = event_nid AND flags = 0
        UNION ALL
        SELECT event_nid, ordering FROM events
        WHERE ordering > $1 AND ordering <= $2 AND ordering > 0 AND ordering <> event_nid AND flags = 0
    ) AS found
    ORDER BY ordering LIMIT $3
"""

PLACES_LOOKED_AT_MAX = 2_000
_PLACES_BEFORE = """
    SELECT ordering FROM events WHERE room_nid = $1 AND ordering < $2 ORDER BY ordering DESC LIMIT $3
"""

_PROMOTE = """
    UPDATE events SET ordering = new.ordering, state_nid = new.state_nid, replaces = new.replaces, flags = new.flags
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[])
        AS new(nid, ordering, state_nid, replaces, flags)
    WHERE event_nid = new.nid
"""

_STATE_EVENTS_AFTER = """
    SELECT event_nid, key_nid, flags, event_id, json FROM events
    WHERE room_nid = $1 AND key_nid IS NOT NULL AND event_nid > $2
    ORDER BY event_nid LIMIT $3
"""

_OLDEST_PLACE = """
    SELECT ordering FROM events WHERE room_nid = $1 AND ordering IS NOT NULL ORDER BY ordering LIMIT 1
"""


def insert_arguments(events: Sequence[NewEvent]) -> list[list[object]]:
    """The arguments of INSERT: a list for each column."""
    return [
        [e.nid for e in events],
        [e.room_nid for e in events],
        [e.ordering for e in events],
        [e.event.depth for e in events],
        [e.event.origin_server_ts for e in events],
        [e.state_nid for e in events],
        [e.replaces for e in events],
        [e.key_nid for e in events],
        [e.flags for e in events],
        [e.event.event_id for e in events],
        [e.event.sender for e in events],
        [e.device_id for e in events],
        [e.txn_id for e in events],
        [e.txn_key for e in events],
        [e.json for e in events],
    ]


async def insert(tx: Tx, events: Sequence[NewEvent]) -> None:
    await tx.execute(INSERT, *insert_arguments(events))


async def by_nids(db: Reader, nids: Collection[int]) -> list[StoredEvent]:
    """These events, in no order; those that aren't there, or can't be read, are left out."""
    return await _read(await bodies.whole(db, await db.fetch(_BY_NIDS, list(nids))))


async def by_ids(db: Reader, event_ids: Collection[EventId]) -> list[StoredEvent]:
    """These events, in no order. What no event can be called, as events of others may cite it, is left out."""
    return await _read(await bodies.whole(db, await db.fetch(_BY_IDS, _possible(event_ids))))


async def known_by_nids(db: Reader, nids: Collection[int]) -> list[StoredEvent]:
    """As `by_nids`; for those whose bodies can't be read, what stands for them (`StoredEvent.is_lost`)."""
    return await _known(db, await db.fetch(_BY_NIDS, list(nids)))


async def known_by_ids(db: Reader, event_ids: Collection[EventId]) -> list[StoredEvent]:
    return await _known(db, await db.fetch(_BY_IDS, _possible(event_ids)))


def _possible(event_ids: Collection[EventId]) -> list[EventId]:
    """Those that the database can be asked for."""
    return [event_id for event_id in event_ids if "\x00" not in event_id]


async def _known(db: Reader, rows: Sequence[Row]) -> list[StoredEvent]:
    had = await bodies.whole(db, rows)
    found = await _read(had)
    if len(had) < len(rows):
        here = {row["event_id"] for row in had}
        lost = [row["event_id"] for row in rows if row["event_id"] not in here]
        found += [_alone(row) for row in await db.fetch(_ROWS_ALONE, lost)]
    return found


async def as_sent(db: Reader, nids: Collection[int]) -> list[tuple[int, dict[str, Any]]]:
    """(nid, PDU) of these events, also of redacted ones that aren't erased yet: never for people's eyes."""
    found: list[tuple[int, dict[str, Any]]] = []
    for row in await bodies.whole(db, await db.fetch(_AS_SENT, list(nids))):
        with contextlib.suppress(ValueError):  # damaged: logged where it is read as an event
            found.append((row["event_nid"], canonical_json.decode(row["json"])))
    return found


async def newest(db: Reader, room_nids: Collection[int]) -> list[StoredEvent]:
    """The newest event of each room's timeline."""
    return _readable(await db.fetch(_NEWEST, list(room_nids)))


async def newest_positions(db: Reader, room_nids: Collection[int]) -> dict[int, int]:
    """Room → position of its newest event. One index look-up a room."""
    return {row["room_nid"]: row["position"] for row in await db.fetch(_NEWEST_POSITIONS, list(room_nids))}


async def backwards(db: Reader, room_nid: int, *, before: int, after: int, limit: int) -> list[int]:
    """Event nids with after < ordering < before, newest first."""
    return [row["event_nid"] for row in await db.fetch(_BACKWARDS, room_nid, before, after, limit)]


async def forwards(db: Reader, room_nid: int, *, after: int, before: int, limit: int) -> list[int]:
    """Event nids with after < ordering < before, oldest first."""
    return [row["event_nid"] for row in await db.fetch(_FORWARDS, room_nid, after, before, limit)]


async def windows(db: Reader, spans: dict[int, tuple[int, int]], *, limit: int) -> dict[int, list[int]]:
    """For each room (room nid → (after, upto]) the newest `limit` events within, oldest first."""
    found: dict[int, list[int]] = {nid: [] for nid in spans}
    afters, uptos = [after for after, _ in spans.values()], [upto for _, upto in spans.values()]
    for row in await db.fetch(_WINDOWS, list(spans), afters, uptos, limit):
        found[row["room_nid"]].append(row["event_nid"])
    return found


async def around(
    db: Reader, places: Sequence[tuple[int, int, int]], before: int, after: int
) -> list[tuple[int, int, bool]]:
    """Of each (event nid, room nid, place): (event nid, nid of a neighbour, whether it comes before), in no order."""
    rows = await db.fetch(_AROUND, *(list(column) for column in zip(*places, strict=True)), before, after)
    return [(row["nid"], row["event_nid"], row["is_before"]) for row in rows]


async def by_txn_keys(db: Reader, keys: Collection[UUID]) -> dict[UUID, EventId]:
    """The events that these transactions made."""
    return {row["txn_key"]: EventId(row["event_id"]) for row in await db.fetch(_BY_TXN_KEYS, list(keys))}


async def state_changes(db: Reader, spans: dict[int, tuple[int, int]]) -> dict[int, dict[int, int]]:
    """For each room (room nid → (after, upto]): key nid → the newest state event set within."""
    found: dict[int, dict[int, int]] = {nid: {} for nid in spans}
    rows = await db.fetch(
        _STATE_CHANGES, list(spans), [after for after, _ in spans.values()], [upto for _, upto in spans.values()]
    )
    for row in rows:
        found[row["room_nid"]][row["key_nid"]] = row["event_nid"]
    return found


async def state_history(
    db: Reader, room_nids: Collection[int], key_nids: Collection[int]
) -> list[tuple[int, int, int, int, bool]]:
    """(room nid, key nid, ordering, event nid, is jump) of each time one of these keys was set, in order.

    The event is 0 where a resolution left the key unset. A jump is a change that no event of the timeline explains.
    """
    rows = await db.fetch(_STATE_HISTORY, list(room_nids), list(key_nids))
    return [(row["room_nid"], row["key_nid"], row["ordering"], row["event_nid"], bool(row["turn"])) for row in rows]


async def nearest(db: Reader, room_nid: int, timestamp_ms: int, *, forwards_in_time: bool) -> int | None:
    """The event nearest to a time by its sender's clock."""
    sql = _NEAREST_AFTER if forwards_in_time else _NEAREST_BEFORE
    nid: int | None = await db.fetchval(sql, room_nid, timestamp_ms)
    return nid


async def set_redacted(tx: Tx, redactions: dict[int, int]) -> None:
    """Marks events (target nid → redaction's nid) as redacted, and their content to be erased later."""
    await tx.execute(_SET_REDACTED, list(redactions), list(redactions.values()))


async def after_position(db: Reader, after: int, upto: int, limit: int) -> dict[int, int]:
    """Event nid → position of timeline events with after < position <= upto, in the order of the journal.

    For consumers that catch up: the last position is where they go on. It is not always the last nid.
    """
    return {row["event_nid"]: row["ordering"] for row in await db.fetch(_AFTER_POSITION, after, upto, limit)}


async def promote(tx: Tx, rows: Sequence[NewEvent]) -> None:
    """Gives events that were outside of the timeline their places in it."""
    await tx.execute(
        _PROMOTE,
        [row.nid for row in rows],
        [row.ordering for row in rows],
        [row.state_nid for row in rows],
        [row.replaces for row in rows],
        [row.flags for row in rows],
    )


@dataclass(frozen=True, slots=True)
class AuthRow:
    """A state event as a room's auth graph needs it."""

    nid: int
    key_nid: int
    event_id: EventId
    is_rejected: bool
    json: bytes


async def state_events_after(db: Reader, room_nid: int, nid: int, limit: int) -> list[AuthRow]:
    """The state events of a room with greater numbers, whatever became of them, in the order of their numbers."""
    return [
        AuthRow(row["event_nid"], row["key_nid"], EventId(row["event_id"]), bool(row["flags"] & REJECTED), row["json"])
        for row in await db.fetch(_STATE_EVENTS_AFTER, room_nid, nid, limit)
    ]


async def free_before(db: Reader, room_nid: int, place: int, wanted: int) -> tuple[int | None, int]:
    """Where so many more events can go before one: after which place (None: at the timeline's beginning), before which.

    Nearest before it, if anything is free there. Where others lie close, farther back: the first places that are
    enough, of 2,000 events that are looked at; else those that are most. One query, seldom two.
    """
    nearest = next(iter(await _places_before(db, room_nid, place, 1)), None)
    if nearest is None or nearest < place - 1:
        return nearest, place
    end, most = place, (place - 1, place)
    found = await _places_before(db, room_nid, place, PLACES_LOOKED_AT_MAX)
    for below in found:
        if end - below > wanted:
            return below, end
        most = max(most, (below, end), key=lambda free: free[1] - free[0])
        end = below
    return most if len(found) == PLACES_LOOKED_AT_MAX else (None, end)


async def _places_before(db: Reader, room_nid: int, place: int, limit: int) -> list[int]:
    return [row["ordering"] for row in await db.fetch(_PLACES_BEFORE, room_nid, place, limit)]


async def oldest_place(db: Reader, room_nid: int) -> int | None:
    """The place of the first event of a room's timeline. One index look-up."""
    place: int | None = await db.fetchval(_OLDEST_PLACE, room_nid)
    return place


async def _read(rows: Collection[Line]) -> list[StoredEvent]:
    """The same; many of them in a thread: 20 µs each."""
    return await asyncio.to_thread(_readable, rows) if len(rows) > _INLINE_MAX else _readable(rows)


def _readable(rows: Iterable[Line]) -> list[StoredEvent]:
    """The events of these rows. One that is damaged is logged and passed over: the server lives on without it."""
    found = []
    for row in rows:
        try:
            found.append(_stored(row))
        except (MatrixError, ValueError):
            log.error("event_unreadable", event_id=row["event_id"])
    return found


def _stored(row: Line) -> StoredEvent:
    json: bytes = row["json"]
    event = Event(ROOM_VERSIONS[row["version"]], canonical_json.decode(json), EventId(row["event_id"]))
    if row["redacted_by"] is not None:
        event = event.redacted()
    return StoredEvent(
        nid=row["event_nid"],
        room_nid=row["room_nid"],
        ordering=row["ordering"],
        event=event,
        state_nid=row["state_nid"],
        replaces=row["replaces"],
        redacted_by=row["redacted_by"],
        flags=row["flags"],
        device_id=row["device_id"],
        txn_id=row["txn_id"],
        size_bytes=len(json),
    )


def _alone(row: Row) -> StoredEvent:
    """What stands for an event of which only the row is here."""
    pdu = {
        "type": "m.room.message",
        "room_id": row["room_id"],
        "sender": row["sender"],
        "content": {},
        "depth": row["depth"],
        "origin_server_ts": row["origin_server_ts"],
        "prev_events": [],
        "auth_events": [],
        "hashes": {},
        "signatures": {},
    }
    return StoredEvent(
        nid=row["event_nid"],
        room_nid=row["room_nid"],
        ordering=row["ordering"],
        event=Event(ROOM_VERSIONS[row["version"]], pdu, EventId(row["event_id"])),
        state_nid=row["state_nid"],
        replaces=row["replaces"],
        redacted_by=row["redacted_by"],
        flags=row["flags"] | LOST,
        device_id=row["device_id"],
        txn_id=row["txn_id"],
        size_bytes=0,
    )
