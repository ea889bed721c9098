"""spec: client-server-api/#post_matrixclientv3roomsroomidinvite, #third-party-invites"""

from __future__ import annotations

import msgspec

from homeserver.accounts.third_party_invites import ThirdPartyInvites
from homeserver.core.errors import MissingParam
from homeserver.core.identifiers import RoomId, parse_user_id
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class InviteBody(msgspec.Struct, frozen=True):
    user_id: str | None = None
    reason: str | None = None
    medium: str | None = None
    address: str | None = None
    id_server: str | None = None
    id_access_token: str | None = None


class Inviting:
    """POST /rooms/{roomId}/invite."""

    def __init__(self, membership: Membership, by_address: ThirdPartyInvites) -> None:
        self._membership = membership
        self._by_address = by_address

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
            await self._by_address.invite(room_id, caller.user_id, msgspec.structs.asdict(body))
            return {}
        if body.user_id is None:
            raise MissingParam("the field user_id is missing")
        target = parse_user_id(body.user_id)
        await self._membership.invite(room_id, target, by=caller.user_id, reason=body.reason)
        return {}
