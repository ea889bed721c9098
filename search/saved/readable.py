"""What of the events that a saved search found its owner may read now."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.aggregations import RelationReads
from homeserver.rooms.neighbours import RoomKey
from homeserver.storage.events import StoredEvent


async def readable(reads: RelationReads, user_id: UserId, nids: Collection[int]) -> dict[int, StoredEvent]:
    """By number, as the read gate shows them: some perhaps without what they said."""
    stored = await reads.store.by_nids(set(nids))
    by_room: dict[RoomId, list[StoredEvent]] = {}
    for one in stored.values():
        by_room.setdefault(one.event.room_id, []).append(one)
    shown: dict[int, StoredEvent] = {}
    for room_id, of_room in by_room.items():
        room = RoomKey(of_room[0].room_nid, room_id)
        shown.update((one.nid, one) for one in await reads.gate.filter(user_id, room, of_room))
    return shown


async def tellable(reads: RelationReads, user_id: UserId, nids: Collection[int]) -> list[Event]:
    """Those that may be told of at this moment: whatever was redacted or closed since they were found is left out."""
    shown = await readable(reads, user_id, nids)
    return [shown[nid].event for nid in sorted(nids) if nid in shown and shown[nid].redacted_by is None]
