"""spec: client-server-api/#joining-rooms"""

from __future__ import annotations

from homeserver.accounts.third_party_invites import ThirdPartyInvites
from homeserver.core.errors import BadJson, Forbidden
from homeserver.core.identifiers import RoomId
from homeserver.rooms.commands.finding import RoomFinder, servers_to_ask
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, Request, endpoint

_OF_THE_REQUEST = frozenset({"third_party_signed"})


class Joining:
    """POST /join and /rooms/{roomId}/join."""

    def __init__(self, membership: Membership, finder: RoomFinder, by_address: ThirdPartyInvites) -> None:
        self._membership = membership
        self._by_address = by_address
        self._finder = finder

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/join",
        "/_matrix/client/r0/rooms/{room_id}/join",
        access=Access.GUEST,
        limit="join",
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidjoin",
    )
    async def join_room_by_id(self, caller: Caller, request: Request, room_id: RoomId, body: Json) -> Json:
        via = servers_to_ask(request.raw_query)
        await self._take_up(caller, room_id, body)
        await self._membership.join(room_id, caller.user_id, own=_own_content(body), via=via, is_guest=caller.is_guest)
        return {"room_id": room_id}

    @endpoint(
        "POST",
        "/_matrix/client/v3/join/{room_id_or_alias}",
        "/_matrix/client/r0/join/{room_id_or_alias}",
        access=Access.GUEST,
        limit="join",
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3joinroomidoralias",
    )
    async def join_room(self, caller: Caller, request: Request, room_id_or_alias: str, body: Json) -> Json:
        room_id, via = await self._finder.find(room_id_or_alias, servers_to_ask(request.raw_query))
        await self._take_up(caller, room_id, body)
        await self._membership.join(room_id, caller.user_id, own=_own_content(body), via=via, is_guest=caller.is_guest)
        return {"room_id": room_id}

    async def _take_up(self, caller: Caller, room_id: RoomId, body: Json) -> None:
        """An invite that was sent to an address of the caller's, if they join by it."""
        signed = body.get("third_party_signed")
        if signed is None:
            return
        if not isinstance(signed, dict):
            raise BadJson("third_party_signed must be an object")
        if signed.get("mxid") != caller.user_id:
            raise Forbidden("this invite is somebody else's")
        await self._by_address.exchange(room_id, signed)


def _own_content(body: Json) -> Json:
    """What the client wants its member event to say: deployed servers take the whole body for it."""
    return {key: value for key, value in body.items() if key not in _OF_THE_REQUEST}
