"""Forgetting a room that one has left. spec: client-server-api/#post_matrixclientv3roomsroomidforget"""

from __future__ import annotations

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Journal
from homeserver.rooms.residents import Rooms
from homeserver.storage import memberships


class Forgetting:
    """Marks rooms as forgotten."""

    def __init__(self, journal: Journal, rooms: Rooms) -> None:
        self._journal = journal
        self._rooms = rooms

    async def forget(self, room_id: RoomId, user_id: UserId) -> None:
        """Raises MatrixError (400) for a room that the user is in, or never had to do with."""
        room = await self._rooms.get(room_id)
        if room is not None and room.membership(user_id) in ("leave", "ban"):
            async with self._journal.write() as write:
                if await memberships.forget(write.tx, room.nid, user_id):
                    write.publish("forgotten", user_ids=[user_id])
                    return
        raise MatrixError("only a room that you have left can be forgotten")
