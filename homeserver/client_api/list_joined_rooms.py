"""spec: client-server-api/#get_matrixclientv3joined_rooms"""

from __future__ import annotations

from homeserver.rooms.residents import Rooms
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class ListJoinedRooms:
    """GET /joined_rooms."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    @endpoint(
        "GET",
        "/_matrix/client/v3/joined_rooms",
        "/_matrix/client/r0/joined_rooms",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3joined_rooms",
    )
    async def joined_rooms(self, caller: Caller) -> Json:
        return {"joined_rooms": sorted(await self._rooms.joined_rooms(caller.user_id))}
