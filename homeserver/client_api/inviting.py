"""spec: client-server-api/#post_matrixclientv3roomsroomidinvite, #third-party-invites"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import Forbidden, MissingParam
from homeserver.core.identifiers import RoomId, parse_user_id
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class InviteBody(msgspec.Struct, frozen=True):
    user_id: str | None = None
    reason: str | None = None
    medium: str | None = None
    address: str | None = None


class Inviting:
    """POST /rooms/{roomId}/invite."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/invite",
        "/_matrix/client/r0/rooms/{room_id}/invite",
        access=Access.USER,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidinvite",
    )
    async def invite_user(self, caller: Caller, room_id: RoomId, body: InviteBody) -> Json:
        if body.user_id is None and body.medium is not None and body.address is not None:
            raise Forbidden("this server has no identity server, so it can't invite by e-mail address or phone number")
        if body.user_id is None:
            raise MissingParam("the field user_id is missing")
        target = parse_user_id(body.user_id)
        await self._membership.invite(room_id, target, by=caller.user_id, reason=body.reason)
        return {}
