"""spec: client-server-api/#knocking-on-rooms"""

from __future__ import annotations

import msgspec

from homeserver.rooms.commands.finding import RoomFinder, servers_to_ask
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, Request, endpoint


class KnockBody(msgspec.Struct, frozen=True):
    reason: str | None = None


class Knocking:
    """POST /knock."""

    def __init__(self, membership: Membership, finder: RoomFinder) -> None:
        self._membership = membership
        self._finder = finder

    @endpoint(
        "POST",
        "/_matrix/client/v3/knock/{room_id_or_alias}",
        "/_matrix/client/unstable/xyz.amorgan.knock/knock/{room_id_or_alias}",
        access=Access.USER,
        limit="knock",
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3knockroomidoralias",
    )
    async def knock_room(self, caller: Caller, request: Request, room_id_or_alias: str, body: KnockBody) -> Json:
        room_id, via = await self._finder.find(room_id_or_alias, servers_to_ask(request.raw_query))
        await self._membership.knock(room_id, caller.user_id, reason=body.reason, via=via)
        return {"room_id": room_id}
