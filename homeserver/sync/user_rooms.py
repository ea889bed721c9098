"""Which rooms users are in: read once, then kept current by the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Rooms
from homeserver.storage.memberships import UserRoom

USERS_MAX = 20_000


class UserRooms:
    """For each user who syncs: room → membership, with the member event that says so."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._known: OrderedDict[UserId, dict[RoomId, UserRoom]] = OrderedDict()
        self._heard = 0

    def known(self, user_id: UserId) -> Mapping[RoomId, UserRoom] | None:
        return self._known.get(user_id)

    async def of(self, user_id: UserId) -> Mapping[RoomId, UserRoom]:
        """All rooms that this user has or had to do with. One query the first time."""
        known = self._known.get(user_id)
        while known is None:
            heard = self._heard
            read = {room.room_id: room for room in await self._rooms.rooms_of(user_id)}
            # A member event that arrived meanwhile may or may not be in what was read: read again.
            if heard == self._heard:
                known = self._known[user_id] = read
                if len(self._known) > USERS_MAX:
                    self._known.popitem(last=False)
        self._known.move_to_end(user_id)
        return known

    def forget(self, user_id: UserId) -> None:
        """Drops what is known, when a room was forgotten by its user."""
        self._heard += 1
        self._known.pop(user_id, None)

    def hear(self, user_id: UserId, written: Written) -> None:
        """Takes in a member event of this user."""
        self._heard += 1
        known = self._known.get(user_id)
        if known is None:
            return
        room_id, membership = written.event.room_id, written.event.membership or "leave"
        before = known.get(room_id)
        is_forgotten = before is not None and before.is_forgotten and membership in ("leave", "ban")
        is_kicked = membership == "leave" and written.event.sender != user_id
        known[room_id] = UserRoom(room_id, written.room.nid, membership, written.stored.nid, is_forgotten, is_kicked)
