"""spec: client-server-api/#creation"""

from __future__ import annotations

from homeserver.accounts.third_party_invites import ThirdPartyInvites
from homeserver.rooms.commands.create import RoomCreation, RoomRequest
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class CreateRoom:
    """POST /createRoom."""

    def __init__(self, creation: RoomCreation, by_address: ThirdPartyInvites) -> None:
        self._creation = creation
        self._by_address = by_address

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
        self._by_address.check(body.invite_3pid or [])
        room_id = await self._creation.create(caller.user_id, body)
        await self._by_address.invite_all(room_id, caller.user_id, body.invite_3pid or [])
        return {"room_id": room_id}
