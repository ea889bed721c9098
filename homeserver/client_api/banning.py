"""spec: client-server-api/#banning-users-in-a-room"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId, parse_user_id
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class BanBody(msgspec.Struct, frozen=True):
    user_id: str
    reason: str | None = None
    redact_events: bool = msgspec.field(default=False, name="org.matrix.msc4293.redact_events")


class Banning:
    """POST /rooms/{roomId}/ban and /unban."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/ban",
        "/_matrix/client/r0/rooms/{room_id}/ban",
        access=Access.USER,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidban",
    )
    async def ban(self, caller: Caller, room_id: RoomId, body: BanBody) -> Json:
        target = parse_user_id(body.user_id)
        await self._membership.ban(
            room_id, target, by=caller.user_id, reason=body.reason, redact_events=body.redact_events
        )
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/unban",
        "/_matrix/client/r0/rooms/{room_id}/unban",
        access=Access.USER,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidunban",
    )
    async def unban(self, caller: Caller, room_id: RoomId, body: BanBody) -> Json:
        target = parse_user_id(body.user_id)
        await self._membership.unban(room_id, target, by=caller.user_id, reason=body.reason)
        return {}
