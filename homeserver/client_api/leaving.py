"""spec: client-server-api/#leaving-rooms"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId
from homeserver.rooms.commands.forgetting import Forgetting
from homeserver.rooms.commands.membership import Membership
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class LeaveBody(msgspec.Struct, frozen=True):
    reason: str | None = None


class Leaving:
    """POST /rooms/{roomId}/leave and /forget."""

    def __init__(self, membership: Membership, forgetting: Forgetting) -> None:
        self._membership = membership
        self._forgetting = forgetting

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/leave",
        "/_matrix/client/r0/rooms/{room_id}/leave",
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3roomsroomidleave",
    )
    async def leave_room(self, caller: Caller, room_id: RoomId, body: LeaveBody) -> Json:
        await self._membership.leave(room_id, caller.user_id, reason=body.reason)
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/forget",
        "/_matrix/client/r0/rooms/{room_id}/forget",
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3roomsroomidforget",
    )
    async def forget_room(self, caller: Caller, room_id: RoomId) -> Json:
        await self._forgetting.forget(room_id, caller.user_id)
        return {}
