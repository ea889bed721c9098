"""spec: client-server-api/#post_matrixclientv3roomsroomidkick"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId, parse_user_id
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class KickBody(msgspec.Struct, frozen=True):
    user_id: str
    reason: str | None = None
    redact_events: bool = msgspec.field(default=False, name="org.matrix.msc4293.redact_events")


class Kicking:
    """POST /rooms/{roomId}/kick."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/kick",
        "/_matrix/client/r0/rooms/{room_id}/kick",
        access=Access.USER,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidkick",
    )
    async def kick(self, caller: Caller, room_id: RoomId, body: KickBody) -> Json:
        target = parse_user_id(body.user_id)
        await self._membership.kick(
            room_id, target, by=caller.user_id, reason=body.reason, redact_events=body.redact_events
        )
        return {}
