"""Rows of rooms and of their history, deleted for good: in portions, over all tables that hold them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class PurgedRoom:
    room_nid: int
    room_id: RoomId


_MARK = """
    INSERT INTO purged_rooms (room_nid, room_id) SELECT room_nid, room_id FROM rooms WHERE room_id = $1
    ON CONFLICT DO NOTHING
"""
# From here on nobody finds the room, whatever rows of it there are.
_BY_ID = (
    "DELETE FROM rooms WHERE room_id = $1",
    "DELETE FROM room_aliases WHERE room_id = $1",
    "DELETE FROM receipts WHERE room_id = $1",
    "DELETE FROM staged_pdus WHERE room_id = $1",
    "DELETE FROM thread_subscriptions WHERE room_id = $1",
    "DELETE FROM delayed_events WHERE room_id = $1",
    "DELETE FROM pushes WHERE room_id = $1",
    "DELETE FROM account_data WHERE room_id = $1",
    "DELETE FROM server_notice_rooms WHERE room_id = $1",
    "DELETE FROM appservice_rooms WHERE room_id = $1",
    "DELETE FROM room_overviews WHERE room_id = $1",
)
_BY_NID = (
    "DELETE FROM memberships WHERE room_nid = $1",
    "DELETE FROM room_facts WHERE room_nid = $1",
    "DELETE FROM unread_pages WHERE room_nid = $1",
    "DELETE FROM unread_marks WHERE room_nid = $1",
    "DELETE FROM directory_open_rooms WHERE room_nid = $1",
    "DELETE FROM state_jumps WHERE room_nid = $1",
    "DELETE FROM backward_extremities WHERE room_nid = $1",
    "DELETE FROM partial_rooms WHERE room_nid = $1",
    "DELETE FROM awaited_keys WHERE room_nid = $1",
    "DELETE FROM early_redactions WHERE room_nid = $1",
    "DELETE FROM told_states WHERE room_nid = $1",
)
_MARKED = "SELECT room_nid, room_id FROM purged_rooms WHERE room_id = $1 ORDER BY room_nid"
_MEMBERS = """
    SELECT m.user_id FROM memberships m JOIN users USING (user_id) WHERE m.room_nid = $1
"""
_NIDS = "SELECT room_nid FROM rooms WHERE room_id = $1"
_UNMARK = "DELETE FROM purged_rooms WHERE room_nid = $1"

_TIMELINE = """
    DELETE FROM events WHERE event_nid IN (
        SELECT event_nid FROM events WHERE room_nid = $1 AND ordering IS NOT NULL ORDER BY ordering LIMIT $2
    ) RETURNING event_nid, event_id, state_nid
"""
_STATE = """
    DELETE FROM events WHERE event_nid IN (
        SELECT event_nid FROM events WHERE room_nid = $1 AND key_nid IS NOT NULL ORDER BY event_nid LIMIT $2
    ) RETURNING event_nid, event_id, state_nid
"""
# Rejected messages alone have neither a place nor a key.
_REST = "DELETE FROM events WHERE room_nid = $1 RETURNING event_nid, event_id, state_nid"
_STATES = "DELETE FROM states WHERE state_nid = ANY($1::bigint[])"
_OF_EVENTS = (
    "DELETE FROM event_relations WHERE event_nid = ANY($1::bigint[])",
    "DELETE FROM event_refusals WHERE event_nid = ANY($1::bigint[])",
    "DELETE FROM stripped_states WHERE event_nid = ANY($1::bigint[])",
    "DELETE FROM pushes WHERE event_nid = ANY($1::bigint[])",
)
# State stays: what is left of the room is built on it. So does where the room goes on.
_HISTORY = """
    DELETE FROM events WHERE event_nid IN (
        SELECT event_nid FROM events
        WHERE room_nid = $1 AND ordering < $2 AND key_nid IS NULL AND NOT (event_nid = ANY($3::bigint[]))
            AND ($4::text IS NULL OR substring(sender FROM position(':' IN sender) + 1) <> $4)
            AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = sender)
            AND NOT EXISTS (SELECT FROM held_rooms JOIN rooms USING (room_id) WHERE room_nid = $1)
        ORDER BY ordering LIMIT $5
    ) RETURNING event_nid, event_id
"""


async def hide_room(tx: Tx, room_id: RoomId) -> list[UserId] | None:
    """Takes the room out of all lists; what is left of it is marked. Whoever here had to do with it.

    None where there is no such room.
    """
    room_nid = await tx.fetchval(_NIDS, room_id)
    if room_nid is None:
        return None
    members = [UserId(row["user_id"]) for row in await tx.fetch(_MEMBERS, room_nid)]
    await tx.execute(_MARK, room_id)
    for sql in _BY_ID:
        await tx.execute(sql, room_id)
    for sql in _BY_NID:
        await tx.execute(sql, room_nid)
    return members


async def marked(db: Reader, room_id: RoomId) -> list[PurgedRoom]:
    """Rooms of this id of which rows may be left."""
    return [PurgedRoom(row["room_nid"], RoomId(row["room_id"])) for row in await db.fetch(_MARKED, room_id)]


async def delete_events(tx: Tx, room_nid: int, limit: int) -> dict[int, EventId]:
    """Deletes some of what is left of a hidden room, and what hangs on it; none: nothing is left. Number → id."""
    rows = await tx.fetch(_TIMELINE, room_nid, limit)
    if not rows:
        rows = await tx.fetch(_STATE, room_nid, limit)
    if not rows:
        rows = await tx.fetch(_REST, room_nid)
    gone = {row["event_nid"]: EventId(row["event_id"]) for row in rows}
    await tx.execute(_STATES, [*gone, *{row["state_nid"] for row in rows if row["state_nid"] is not None}])
    await _delete_hanging(tx, list(gone))
    return gone


async def unmark(tx: Tx, room_nid: int) -> None:
    await tx.execute(_UNMARK, room_nid)


async def delete_history(
    tx: Tx, room_nid: int, before: int, kept: Collection[int], kept_server: ServerName | None, limit: int
) -> dict[int, EventId]:
    """Deletes some messages before a place, but not `kept` nor those of a server's users; none: it is done."""
    rows = await tx.fetch(_HISTORY, room_nid, before, list(kept), kept_server, limit)
    gone = {row["event_nid"]: EventId(row["event_id"]) for row in rows}
    await _delete_hanging(tx, list(gone))
    return gone


async def _delete_hanging(tx: Tx, nids: Sequence[int]) -> None:
    for sql in _OF_EVENTS:
        await tx.execute(sql, nids)
