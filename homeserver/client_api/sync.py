"""GET /sync. spec: client-server-api/#get_matrixclientv3sync"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.sync.service import SyncService, SyncWish
from homeserver.web.endpoint import Access, Answer, Caller, endpoint

# Clients from before v1.16 read the answer under the name that they asked by.
_UNSTABLE = "org.matrix.msc4222.state_after"


class SyncQuery(msgspec.Struct, frozen=True):
    since: str | None = None
    filter: str | None = None
    full_state: bool = False
    set_presence: str = "online"
    timeout: int = 0
    use_state_after: bool = False
    unstable_state_after: bool = msgspec.field(default=False, name="org.matrix.msc4222.use_state_after")


class SyncEndpoint:
    """What happened since."""

    def __init__(self, service: SyncService) -> None:
        self._service = service

    @endpoint(
        "GET",
        "/_matrix/client/v3/sync",
        "/_matrix/client/r0/sync",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3sync",
        timeout_s=None,
        waits=True,
    )
    async def sync(self, caller: Caller, query: SyncQuery) -> Answer:
        if query.set_presence not in ("online", "offline", "unavailable"):
            raise InvalidParam("set_presence must be online, offline or unavailable")
        if query.timeout < 0:
            raise InvalidParam("timeout must not be negative")
        wish = SyncWish(
            since=query.since or None,
            filter=query.filter or None,
            full_state=query.full_state,
            set_presence=query.set_presence,
            timeout_ms=query.timeout,
            state_after="state_after" if query.use_state_after else _UNSTABLE if query.unstable_state_after else "",
        )
        return Answer(await self._service.sync(caller.user_id, caller.device_id, wish))
