"""Which rooms people mean when they name one: those that it was upgraded from, and what is in a space.

What another room says of itself only counts where both sides say it; a walk is bounded, however rooms refer to each
other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from homeserver.core.identifiers import RoomId, UserId, is_room_id
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.space_tree import SpaceTree

UPGRADES_MAX = 20
ROOMS_MAX = 1_000


class RoomFamilies:
    """Follows rooms to those that belong to them."""

    def __init__(self, rooms: Rooms, spaces: SpaceTree) -> None:
        self._rooms = rooms
        self._spaces = spaces

    async def with_predecessors(self, room_ids: Collection[RoomId]) -> frozenset[RoomId]:
        """These rooms, and all that they were upgraded from. A few queries for each step back."""
        found = dict.fromkeys(list(room_ids)[:ROOMS_MAX])
        newer = await self._rooms.get_many(list(found))
        for _ in range(UPGRADES_MAX):
            claimed = {room_id: old for room_id, room in newer.items() if (old := predecessor_of(room)) is not None}
            older = await self._rooms.get_many([old for old in claimed.values() if old not in found])
            newer = {
                old: older[old]
                for room_id, old in claimed.items()
                if old in older and older[old].known_text("m.room.tombstone", "replacement_room") == room_id
            }
            if not newer or len(found) > ROOMS_MAX:
                break
            found.update(dict.fromkeys(newer))
        return frozenset(found)

    async def named(self, viewer: UserId, names: Sequence[RoomId]) -> Mapping[RoomId, frozenset[RoomId]]:
        """Each of these with its predecessors; with all rooms in it where it is a space that the viewer may know of."""
        rooms = await self._rooms.get_many(names)
        found: dict[RoomId, frozenset[RoomId]] = {}
        for room_id in names:
            room = rooms.get(room_id)
            within = await self._spaces.room_ids(viewer, room) if room is not None else {room_id}
            found[room_id] = await self.with_predecessors(within)
        return found


def predecessor_of(room: Room) -> RoomId | None:
    """The room that this one says it replaces."""
    create = room.known_state("m.room.create")
    said = create.content.get("predecessor") if create is not None else None
    old = said.get("room_id") if isinstance(said, dict) else None
    return RoomId(str(old)) if is_room_id(old) else None
