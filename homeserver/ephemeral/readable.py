"""The events that a member of a room may point at."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.residents import Rooms
from homeserver.storage.events import StoredEvent


class Readable:
    """Events by id, for who is in their room and may see them."""

    def __init__(self, rooms: Rooms, event_store: EventStore, gate: ReadGate) -> None:
        self.rooms = rooms
        self.lookup = event_store
        self._gate = gate

    async def events(
        self, user_id: UserId, room_id: RoomId, event_ids: Collection[EventId]
    ) -> dict[EventId, StoredEvent]:
        """These events. From memory for those in use.

        Raises Forbidden for who isn't joined (to an unknown room neither), NotFound for an event that isn't there, is
        in another room or may not be seen: one answer for all.
        """
        room = await self.rooms.get(room_id)
        if room is None or room.presumed_membership(user_id) != "join":
            raise Forbidden("you are not in this room")
        found = await self.lookup.by_ids(event_ids)
        # Of who is taken for a member, not known as one, nothing is known that the gate could go by.
        is_member = room.membership(user_id) == "join"
        seen = (
            await self._gate.filter(user_id, room, list(found.values()))
            if is_member
            else [stored for stored in found.values() if stored.is_for_people and stored.room_nid == room.nid]
        )
        shown = {stored.event.event_id: stored for stored in seen}
        if len(shown) < len(event_ids):
            raise NotFound("there is no such event in this room")
        return shown
