"""What of the events that a saved search found its owner may read now."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.aggregations import IgnoreList, RelationReads
from homeserver.rooms.neighbours import RoomKey
from homeserver.storage.events import StoredEvent
from search.saved import storage


async def readable(
    reads: RelationReads, ignore_list: IgnoreList, user_id: UserId, nids: Collection[int]
) -> dict[int, StoredEvent]:
    """By number, those that the owner would still find: nothing redacted or shown in part, of rooms that they forgot,
    or by users whom they ignore. That it once matched says what it was, whatever is left of it.
    """
    ignored = await ignore_list.ignored_by(user_id)
    stored = await reads.store.by_nids(set(nids))
    searched = await storage.rooms_of(reads.db, [user_id], {one.room_nid for one in stored.values()})
    by_room: dict[RoomId, list[StoredEvent]] = {}
    for one in stored.values():
        if one.redacted_by is None and one.event.sender not in ignored and (user_id, one.room_nid) in searched:
            by_room.setdefault(one.event.room_id, []).append(one)
    rooms = {room_id: RoomKey(of_room[0].room_nid, room_id) for room_id, of_room in by_room.items()}
    await reads.gate.timelines(user_id, list(rooms.values()))
    shown: dict[int, StoredEvent] = {}
    for room_id, of_room in by_room.items():
        for one in await reads.gate.filter(user_id, rooms[room_id], of_room):
            # What is shown in part is another event than the stored one.
            if one.event is stored[one.nid].event:
                shown[one.nid] = one
    return shown
