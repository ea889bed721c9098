"""The tables `partial_rooms` and `told_states`: rooms that were joined before all of their members were known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialRow:
    """`whole_at` is the position since which all is known, None until then.

    `servers` were in the room before us, the one that let us in first; `state_nid` is the state before our join.
    `awaits_keys`: some of that state couldn't be checked, and is taken into it once it can.
    """

    room_nid: int
    join_nid: int
    state_nid: int
    servers: Mapping[ServerName, None]  # an ordered set
    whole_at: int | None = None
    awaits_keys: bool = False


def row_of_entry(
    room_nid: int, state_nid: int, servers: Sequence[ServerName] | None, *, awaits_keys: bool
) -> PartialRow | None:
    """What is noted of a room that wasn't told whole; None where there is nothing to note.

    `servers` where members were left out: these are fetched next, and what can't be checked is found out then.
    """
    if servers is None and not awaits_keys:
        return None
    return PartialRow(
        room_nid=room_nid,
        join_nid=state_nid + 1,
        state_nid=state_nid,
        servers=dict.fromkeys(servers or ()),
        whole_at=state_nid + 1 if servers is None else None,
        awaits_keys=servers is None,
    )


_UPSERT = """
    INSERT INTO partial_rooms (room_nid, join_nid, state_nid, servers, whole_at, awaits_keys)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (room_nid) DO UPDATE SET join_nid = excluded.join_nid, state_nid = excluded.state_nid,
        servers = excluded.servers, whole_at = excluded.whole_at, awaits_keys = excluded.awaits_keys
"""
_FINISH = "UPDATE partial_rooms SET whole_at = $2, servers = '{}', awaits_keys = $3 WHERE room_nid = $1"
_SETTLE = "UPDATE partial_rooms SET awaits_keys = false WHERE room_nid = $1"
_DELETE = "DELETE FROM partial_rooms WHERE room_nid = $1"
_UNFINISHED = "SELECT r.room_id FROM partial_rooms p JOIN rooms r USING (room_nid) WHERE p.whole_at IS NULL"
_WHOLE_SINCE = """
    SELECT room_nid, join_nid FROM partial_rooms WHERE room_nid = ANY($1::bigint[]) AND whole_at > $2
"""
_FINISHED_SINCE = """
    SELECT r.room_id, p.join_nid FROM partial_rooms p JOIN rooms r USING (room_nid) WHERE p.whole_at > $1
"""
_SERVERS_WITH = """
    SELECT DISTINCT unnest(p.servers) AS server FROM partial_rooms p JOIN memberships m USING (room_nid)
    WHERE m.user_id = $1 AND m.membership = 'join' AND p.whole_at IS NULL
"""
_INSERT_TOLD = """
    INSERT INTO told_states (room_nid, event_nid, state_nid)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING
"""
_TOLD = "SELECT event_nid, state_nid FROM told_states WHERE room_nid = $1"
_FORGET_TOLD = "DELETE FROM told_states WHERE room_nid = $1"
# What has a place in the graph after the join; what was put before it later has the join's state, or one of its own.
_SINCE = """
    SELECT event_nid FROM events
    WHERE room_nid = $1 AND state_nid >= $2 AND (ordering IS NULL OR ordering >= $3) AND event_nid <> $3
"""
_MOVE_STATES = """
    UPDATE events SET state_nid = moved.new FROM unnest($2::bigint[], $3::bigint[]) AS moved(old, new)
    WHERE room_nid = $1 AND state_nid = moved.old AND event_nid <> ALL($4::bigint[])
"""
_STATE_ROWS = """
    SELECT event_id, event_nid, key_nid, flags FROM events
    WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1) AND event_id = ANY($2::text[])
"""
_BODIES = "SELECT event_nid, json FROM events WHERE event_nid = ANY($1::bigint[])"


async def begin(tx: Tx, row: PartialRow) -> None:
    """Told with the event by which this server comes in."""
    values = (row.room_nid, row.join_nid, row.state_nid, list(row.servers), row.whole_at, row.awaits_keys)
    await tx.execute(_UPSERT, *values)
    await tx.execute(_FORGET_TOLD, row.room_nid)


async def finish(tx: Tx, room_nid: int, whole_at: int, *, awaits_keys: bool) -> None:
    await tx.execute(_FINISH, room_nid, whole_at, awaits_keys)
    await tx.execute(_FORGET_TOLD, room_nid)


async def settle(tx: Tx, room_nid: int) -> None:
    """Told when no key is waited for any more."""
    await tx.execute(_SETTLE, room_nid)
    await tx.execute(_FORGET_TOLD, room_nid)


async def delete(tx: Tx, room_nid: int) -> None:
    """Told when this server comes in with all members."""
    await tx.execute(_DELETE, room_nid)
    await tx.execute(_FORGET_TOLD, room_nid)


async def unfinished(db: Reader) -> list[RoomId]:
    """The rooms whose members are still to be fetched."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_UNFINISHED)]


async def whole_since(db: Reader, room_nids: Collection[int], since: int) -> dict[int, int]:
    """Those of these rooms whose members are all known only since after a position, each with that of our join."""
    return {row["room_nid"]: row["join_nid"] for row in await db.fetch(_WHOLE_SINCE, list(room_nids), since)}


async def finished_since(db: Reader, since: int) -> dict[RoomId, int]:
    """The rooms whose members are all known only since after a position, each with our join."""
    return {RoomId(row["room_id"]): row["join_nid"] for row in await db.fetch(_FINISHED_SINCE, since)}


async def servers_with(db: Reader, user_id: UserId) -> set[ServerName]:
    """The servers in the rooms of a user whose members are still missing."""
    return {ServerName(row["server"]) for row in await db.fetch(_SERVERS_WITH, user_id)}


async def insert_told(tx: Tx, room_nid: int, told: Sequence[tuple[int, int]]) -> None:
    """(event nid, nid of a state that was told for one of the events it cites)."""
    await tx.execute(_INSERT_TOLD, room_nid, [event for event, _ in told], [state for _, state in told])


async def told(db: Reader, room_nid: int) -> dict[int, list[int]]:
    """Event nid → the states that were told for it."""
    found: dict[int, list[int]] = {}
    for row in await db.fetch(_TOLD, room_nid):
        found.setdefault(row["event_nid"], []).append(row["state_nid"])
    return found


async def events_since(db: Reader, room_nid: int, state_nid: int, join_nid: int) -> list[int]:
    """The events that stand on states since the one before the join, without the join itself, in no order."""
    return [row["event_nid"] for row in await db.fetch(_SINCE, room_nid, state_nid, join_nid)]


async def move_states(tx: Tx, room_nid: int, moved: Mapping[int, int], apart_from: Collection[int]) -> None:
    """Lets other events that refer to a state which is made anew (old nid → new nid) refer to the new one."""
    await tx.execute(_MOVE_STATES, room_nid, list(moved), list(moved.values()), list(apart_from))


@dataclass(frozen=True, slots=True)
class StateEventRow:
    """A state event of a room, without its content. `key_nid` is None for what is no state."""

    event_nid: int
    key_nid: int | None
    flags: int


async def state_rows(db: Reader, room_id: RoomId, event_ids: Collection[str]) -> dict[str, StateEventRow]:
    """Those of these events that are here and of this room; nothing is decoded."""
    rows = await db.fetch(_STATE_ROWS, room_id, list(event_ids))
    return {row["event_id"]: StateEventRow(row["event_nid"], row["key_nid"], row["flags"]) for row in rows}


async def bodies(db: Reader, nids: Collection[int]) -> list[tuple[int, bytes]]:
    """(nid, canonical JSON) of these events, for a thread to decode."""
    return [(row["event_nid"], row["json"]) for row in await db.fetch(_BODIES, list(nids))]
