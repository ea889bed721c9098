"""POST sliding sync, at the path that clients use today. spec: MSC4186, unstable prefix"""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.sync.sliding.request import SlidingBody
from homeserver.sync.sliding.service import SlidingSync, SlidingWish
from homeserver.web.endpoint import Access, Answer, Caller, endpoint


class SlidingQuery(msgspec.Struct, frozen=True):
    pos: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    timeout: Annotated[int, msgspec.Meta(ge=0)] | None = None
    set_presence: str | None = None


class SlidingSyncEndpoint:
    """A window on the caller's rooms, as a difference from what they have."""

    def __init__(self, service: SlidingSync) -> None:
        self._service = service

    @endpoint(
        "POST",
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        access=Access.GUEST,
        spec="client-server-api/#syncing",
        timeout_s=None,
        waits=True,
        compressed=True,
    )
    async def sync(self, caller: Caller, query: SlidingQuery, body: SlidingBody) -> Answer:
        set_presence = query.set_presence or body.set_presence or "online"
        if set_presence not in ("online", "offline", "unavailable"):
            raise InvalidParam("set_presence must be online, offline or unavailable")
        timeout_ms = query.timeout if query.timeout is not None else body.timeout
        wish = SlidingWish(pos=query.pos or body.pos, timeout_ms=timeout_ms or 0, set_presence=set_presence)
        return Answer(await self._service.sync(caller.user_id, caller.device_id, body, wish))
