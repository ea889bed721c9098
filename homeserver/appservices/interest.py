"""Which application services an event, or a room, concerns. spec: application-service-api/#registration"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from homeserver.appservices.registration import Registration
from homeserver.core.identifiers import RoomId, ServerName, UserId
from homeserver.journal.event_log import EventLog
from homeserver.journal.journal import Entry
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import appservices, room_aliases
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

ROOMS_MAX = 20_000
# A room with more is looked through beside the event loop: about 2 ms of work.
INLINE_MEMBERS = 2_000
# Comings and goings that are remembered for a service that is slow; of those before, the room as it is now decides.
TURNS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Turn:
    """A user of the service came into a room, left it or was invited: `was_joined` before this position."""

    position: int
    user_id: UserId
    was_joined: bool


@dataclass(frozen=True, slots=True)
class Past:
    """Which users of the service were in a room when: who never moved, who is in it now, and the turns between."""

    has_others: bool
    joined: Collection[UserId]
    turns: Sequence[Turn]

    def is_concerned(self, position: int) -> bool:
        if self.has_others:
            return True
        then: dict[UserId, bool] = {}
        for turn in self.turns:
            if turn.position > position:
                then.setdefault(turn.user_id, turn.was_joined)
        return any(then.values()) or any(user_id not in then for user_id in self.joined)


class Interest:
    """What concerns one application service: remembered by room, and looked at again when members come or go.

    An event is judged by who was in its room when it was sent, as the service may hear of it much later.
    """

    def __init__(self, service: Registration, db: Database, rooms: Rooms, server_name: ServerName) -> None:
        self._service = service
        self._db = db
        self._rooms = rooms
        self._server_name = server_name
        self._users: OrderedDict[str, bool] = OrderedDict()
        self._concerned: OrderedDict[RoomId, bool] = OrderedDict()
        self._generation = 0
        self._turns: defaultdict[RoomId, deque[Turn]] = defaultdict(deque)  # ascending
        self._turned: deque[RoomId] = deque()  # the room of each turn of all rooms, as they were remembered

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
        pasts = await self._pasts([room_id for room_id in asked if room_id in self._turns])

        def is_told(stored: StoredEvent) -> bool:
            past = pasts.get(stored.event.room_id)
            if past is not None:
                return past.is_concerned(stored.ordering or stored.nid)
            return stored.event.room_id in rooms

        return [stored for stored in found if stored.nid in direct or is_told(stored)]

    async def _pasts(self, room_ids: Sequence[RoomId]) -> dict[RoomId, Past]:
        """Of rooms where users of the service came or went lately."""
        if not room_ids:
            return {}
        named = await self._named(room_ids)
        pasts: dict[RoomId, Past] = {}
        for room_id, room in (await self._rooms.get_many([one for one in room_ids if one not in named])).items():
            turns = list(self._turns.get(room_id, ()))
            turned = {turn.user_id for turn in turns}
            has_others = (
                await asyncio.to_thread(self._has_members, room, turned)
                if len(room.members) > INLINE_MEMBERS
                else self._has_members(room, turned)
            )
            pasts[room_id] = Past(has_others, {one for one in turned if room.membership(one) == "join"}, turns)
        return pasts

    async def start(self, position: int, event_log: EventLog) -> None:
        """Takes up who came and went after a position, before an earlier run ended. Two queries."""
        found = await appservices.member_events(self._db, position, self._server_name, TURNS_MAX)
        own = [moved for moved in found if self.has_user(moved.user_id)]
        before = await event_log.events({moved.replaces for moved in own if moved.replaces is not None})
        for moved in own:
            earlier = before.get(moved.replaces) if moved.replaces is not None else None
            was_joined = earlier is not None and earlier.event.membership == "join"
            self.remember(moved.room_id, [Turn(moved.position, moved.user_id, was_joined)])

    def remember(self, room_id: RoomId, turns: Iterable[Turn]) -> None:
        """Takes up comings and goings, the oldest first; past the cap those that were remembered first go."""
        for turn in turns:
            self._turns[room_id].append(turn)
            self._turned.append(room_id)
        while len(self._turned) > TURNS_MAX:
            self._forget_first()

    def forget_turns(self, upto: int) -> None:
        """Told when everything up to a position was judged. Costs as much as is forgotten, not as is kept."""
        while self._turned and self._turns[self._turned[0]][0].position <= upto:
            self._forget_first()

    def _forget_first(self) -> None:
        room_id = self._turned.popleft()
        turns = self._turns[room_id]
        turns.popleft()
        if not turns:
            del self._turns[room_id]

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
        return concerned | await self._named(set(room_ids) - concerned)

    async def _named(self, room_ids: Collection[RoomId]) -> set[RoomId]:
        """Those that are of interest by their id or alias, whoever is in them."""
        named = {room_id for room_id in room_ids if self._service.has_room(room_id)}
        if self._service.aliases and room_ids:
            # Aliases come and go without a word in the journal: asked for each time.
            for room_id, aliases in (await room_aliases.of_rooms(self._db, set(room_ids))).items():
                if any(map(self._service.has_alias, aliases)):
                    named.add(room_id)
        return named

    async def own_members(self, room: Room) -> set[UserId]:
        """The users of the service that are in a room."""
        is_large = len(room.members) > INLINE_MEMBERS
        return await asyncio.to_thread(self._own_members, room) if is_large else self._own_members(room)

    def _own_members(self, room: Room) -> set[UserId]:
        is_own, name = self._service.may_be, self._server_name
        return {user_id for user_id in room.joined_members() if is_own(user_id, name)}

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: a room whose members changed is looked at again, where that may matter."""
        for entry in entries:
            if entry.kind == "event" and entry.room_id is not None:
                event = entry.payload.event
                if event.type == "m.room.member" and event.state_key is not None and self.has_user(event.state_key):
                    self._generation += 1
                    was_joined = entry.payload.membership_before == "join"
                    self.remember(entry.room_id, [Turn(entry.position, UserId(event.state_key), was_joined)])
                    if event.membership == "join":
                        self._concerned[entry.room_id] = True
                    else:
                        self._concerned.pop(entry.room_id, None)

    def _concerns(self, room: Room) -> bool:
        return self._service.has_room(room.room_id) or self._has_members(room, ())

    def _has_members(self, room: Room, but: Collection[UserId]) -> bool:
        is_own, name = self._service.may_be, self._server_name
        return any(
            membership == "join" and user_id not in but and is_own(user_id, name)
            for user_id, membership in room.members.items()
        )

    def _is_direct(self, stored: StoredEvent) -> bool:
        event = stored.event
        if self._service.has_room(event.room_id) or self.has_user(event.sender):
            return True
        return event.type == "m.room.member" and event.state_key is not None and self.has_user(event.state_key)
