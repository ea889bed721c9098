"""Which application services an event, or a room, concerns. spec: application-service-api/#registration"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence

from homeserver.appservices.registration import Registration
from homeserver.core.identifiers import RoomId, ServerName, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import room_aliases
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

ROOMS_MAX = 20_000
# A room with more is looked through beside the event loop: about 2 ms of work.
INLINE_MEMBERS = 2_000


class Interest:
    """What concerns one application service: remembered by room, and looked at again when members come or go."""

    def __init__(self, service: Registration, db: Database, rooms: Rooms, server_name: ServerName) -> None:
        self._service = service
        self._db = db
        self._rooms = rooms
        self._server_name = server_name
        self._users: OrderedDict[str, bool] = OrderedDict()
        self._concerned: OrderedDict[RoomId, bool] = OrderedDict()
        self._generation = 0

    def has_user(self, user_id: str) -> bool:
        """Whether this is a user of the service: of this server and of its namespace."""
        known = self._users.get(user_id)
        if known is None:
            known = self._users[user_id] = self._service.may_be(UserId(user_id), self._server_name)
            if len(self._users) > ROOMS_MAX:
                self._users.popitem(last=False)
        return known

    async def of_interest(self, found: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Those of these events that the service is to hear of, in order. No query for rooms in memory."""
        direct = {stored.nid for stored in found if self._is_direct(stored)}
        asked = {stored.event.room_id for stored in found if stored.nid not in direct}
        rooms = await self.rooms(asked)
        return [stored for stored in found if stored.nid in direct or stored.event.room_id in rooms]

    async def rooms(self, room_ids: Collection[RoomId]) -> set[RoomId]:
        """Those of these rooms that the service is interested in as a whole."""
        unknown = [room_id for room_id in room_ids if room_id not in self._concerned]
        if unknown:
            generation = self._generation
            found = {
                room_id: await asyncio.to_thread(self._concerns, room)
                if len(room.members) > INLINE_MEMBERS
                else self._concerns(room)
                for room_id, room in (await self._rooms.get_many(unknown)).items()
            }
            if generation == self._generation:
                self._concerned.update(found)
            while len(self._concerned) > ROOMS_MAX:
                self._concerned.popitem(last=False)
        else:
            found = {}
        concerned = {room_id for room_id in room_ids if found.get(room_id) or self._concerned.get(room_id, False)}
        if self._service.aliases and (others := set(room_ids) - concerned):
            # Aliases come and go without a word in the journal: asked for each time.
            for room_id, aliases in (await room_aliases.of_rooms(self._db, others)).items():
                if any(map(self._service.has_alias, aliases)):
                    concerned.add(room_id)
        return concerned

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: a room whose members changed is looked at again, where that may matter."""
        for entry in entries:
            if entry.kind == "event" and entry.room_id is not None:
                event = entry.payload.event
                if event.type == "m.room.member" and event.state_key is not None and self.has_user(event.state_key):
                    self._generation += 1
                    if event.membership == "join":
                        self._concerned[entry.room_id] = True
                    else:
                        self._concerned.pop(entry.room_id, None)

    def _concerns(self, room: Room) -> bool:
        if self._service.has_room(room.room_id):
            return True
        is_own, name = self._service.may_be, self._server_name
        return any(membership == "join" and is_own(user_id, name) for user_id, membership in room.members.items())

    def _is_direct(self, stored: StoredEvent) -> bool:
        event = stored.event
        if self._service.has_room(event.room_id) or self.has_user(event.sender):
            return True
        return event.type == "m.room.member" and event.state_key is not None and self.has_user(event.state_key)
