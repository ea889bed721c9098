"""Typing notifications. spec: client-server-api/#typing-notifications"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId, UserId
from homeserver.ephemeral.presence import Presence
from homeserver.ephemeral.typing import Typing
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint


class TypingBody(msgspec.Struct, frozen=True):
    typing: bool
    timeout: int | None = None


class TypingEndpoints:
    def __init__(self, typing: Typing, presence: Presence) -> None:
        self._typing = typing
        self._presence = presence

    @endpoint(
        "PUT",
        "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}",
        "/_matrix/client/r0/rooms/{room_id}/typing/{user_id}",
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3roomsroomidtypinguserid",
        limit="typing",
        while_suspended=False,
    )
    async def typing(self, caller: Caller, room_id: RoomId, user_id: UserId, body: TypingBody) -> Json:
        check_own(caller, user_id, "you can't say that somebody else is typing")
        await self._typing.set(user_id, room_id, body.typing, body.timeout)
        self._presence.active(user_id)
        return {}
