"""Which rooms the spaces have that operators are bound to.

A room is a space's where both say so, the space by m.space.child and the room by m.space.parent: else whoever has a
say in a space, a moderator among them, could put any room under it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from homeserver.core.identifiers import RoomId, is_room_id
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.remote_trees import CHILD, SPACE
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers

PARENT = "m.space.parent"
ROOMS_MAX = 1_000
_DEPTH_MAX = 10
_REMEMBERED_MAX = 100


class BoundRooms:
    """Implements `SpaceRooms`. What it found is remembered until any space, or any room's parent, changes."""

    def __init__(self, rooms: Rooms, numbers: StateNumbers, journal: Journal) -> None:
        self._rooms = rooms
        self._numbers = numbers
        self._known: dict[frozenset[str], frozenset[str]] = {}
        self._changes = 0
        journal.listen(self._hear)

    async def within(self, rooms: frozenset[str]) -> frozenset[str]:
        """These rooms, with those of the spaces among them: `ROOMS_MAX` at most are looked at."""
        known = self._known.get(rooms)
        if known is not None:
            return known
        before = self._changes
        found = await self._walk(rooms)
        if before == self._changes:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            self._known[rooms] = found
        return found

    async def _walk(self, rooms: frozenset[str]) -> frozenset[str]:
        found = set(rooms)
        level: Collection[Room] = (
            await self._rooms.get_many([RoomId(one) for one in rooms if is_room_id(one)])
        ).values()
        looked_at = 0
        for _ in range(_DEPTH_MAX):
            below: dict[RoomId, Room] = {}
            for space in level:
                named = [one for one in await self._named(space) if one not in found][: ROOMS_MAX - looked_at]
                looked_at += len(named)
                for child in (await self._rooms.get_many(named)).values():
                    if await self._says_so(child, space.room_id):
                        below[child.room_id] = child
            found |= below.keys()
            level = below.values()
        return frozenset(found)

    async def _named(self, space: Room) -> list[RoomId]:
        """The rooms that a space says are its own. No query for what is no space."""
        if space.known_text("m.room.create", "type") != SPACE:
            return []
        keys = await self._numbers.keys_of(list((await self._rooms.state_map(space)).keys()))
        named = [key for key in keys.values() if key[0] == CHILD and is_room_id(key[1])][:ROOMS_MAX]
        known = await self._rooms.with_known(space, named)
        events = [event for key in named if (event := known.known_state(*key)) is not None]
        return [RoomId(event.state_key) for event in events if event.state_key and event.content.get("via")]

    async def _says_so(self, child: Room, space_id: RoomId) -> bool:
        known = await self._rooms.with_known(child, [(PARENT, space_id)])
        event = known.known_state(PARENT, space_id)
        return event is not None and bool(event.content.get("via"))

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            is_said = isinstance(entry.payload, Written) and entry.payload.event.type in (CHILD, PARENT)
            if is_said or entry.kind == "state_jump":
                self._changes += 1
                self._known.clear()
