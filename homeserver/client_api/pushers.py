"""Pushers. spec: client-server-api/#push-notifications"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.push.pushers import Pushers, parse_pusher
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class PusherBody(msgspec.Struct, frozen=True, rename={"enabled": "org.matrix.msc3881.enabled"}):
    """`kind` has to be there: null means to delete."""

    pushkey: str
    app_id: str
    kind: str | None
    app_display_name: str | None = None
    device_display_name: str | None = None
    profile_tag: str | None = None
    lang: str | None = None
    data: dict[str, Any] | None = None
    append: bool = False
    enabled: bool | None = None


class PusherEndpoints:
    def __init__(self, pushers: Pushers) -> None:
        self._pushers = pushers

    @endpoint(
        "GET",
        "/_matrix/client/v3/pushers",
        "/_matrix/client/r0/pushers",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3pushers",
    )
    async def pushers(self, caller: Caller) -> Json:
        return {"pushers": [pusher.shown() for pusher in await self._pushers.of_user(caller.user_id)]}

    @endpoint(
        "POST",
        "/_matrix/client/v3/pushers/set",
        "/_matrix/client/r0/pushers/set",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3pushersset",
        limit="account_data",
        while_suspended=False,
    )
    async def set(self, caller: Caller, body: PusherBody) -> Json:
        if body.kind is None:
            await self._pushers.delete(caller.user_id, body.app_id, body.pushkey)
            return {}
        pusher = parse_pusher(
            app_id=body.app_id,
            pushkey=body.pushkey,
            kind=body.kind,
            app_display_name=body.app_display_name,
            device_display_name=body.device_display_name,
            lang=body.lang,
            data=body.data,
            profile_tag=body.profile_tag,
        )
        await self._pushers.set(caller.user_id, caller.device_id, pusher, append=body.append, enabled=body.enabled)
        return {}
