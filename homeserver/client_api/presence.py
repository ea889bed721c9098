"""Presence. spec: client-server-api/#presence"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import UserId
from homeserver.ephemeral.presence import Presence
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint

_PATHS = ("/_matrix/client/v3/presence/{user_id}/status", "/_matrix/client/r0/presence/{user_id}/status")


class PresenceBody(msgspec.Struct, frozen=True):
    presence: str
    status_msg: str | None = None


class PresenceEndpoints:
    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    @endpoint(
        "PUT",
        *_PATHS,
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3presenceuseridstatus",
        limit="presence",
        while_suspended=False,
    )
    async def put(self, caller: Caller, user_id: UserId, body: PresenceBody) -> Json:
        check_own(caller, user_id, "you can't set somebody else's presence")
        await self._presence.set(user_id, body.presence, body.status_msg)
        return {}

    @endpoint("GET", *_PATHS, access=Access.USER, spec="client-server-api/#get_matrixclientv3presenceuseridstatus")
    async def get(self, caller: Caller, user_id: UserId) -> Json:
        return await self._presence.get(user_id, caller.user_id)
