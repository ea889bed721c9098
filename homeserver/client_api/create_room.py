"""spec: client-server-api/#creation"""

from __future__ import annotations

from homeserver.rooms.commands.create import RoomCreation, RoomRequest
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class CreateRoom:
    """POST /createRoom."""

    def __init__(self, creation: RoomCreation) -> None:
        self._creation = creation

    @endpoint(
        "POST",
        "/_matrix/client/v3/createRoom",
        "/_matrix/client/r0/createRoom",
        access=Access.USER,
        limit="create_room",
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3createroom",
    )
    async def create_room(self, caller: Caller, body: RoomRequest) -> Json:
        return {"room_id": await self._creation.create(caller.user_id, body)}
