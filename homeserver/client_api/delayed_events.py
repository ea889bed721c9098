"""Delayed events: what is waiting, and what becomes of it. spec: MSC4140, unstable prefix"""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.rooms.commands.delaying import DelayedEvents
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"


class DelayAction(msgspec.Struct, frozen=True):
    action: Literal["cancel", "restart", "send"]


class DelayedEventEndpoints:
    """Whoever knows an event's id may manage it: a service that watches a call needs no token of the user's."""

    def __init__(self, delayed: DelayedEvents) -> None:
        self._delayed = delayed

    @endpoint(
        "GET", _PATH, access=Access.GUEST, limit="delayed_event", spec="client-server-api/#sending-events-to-a-room"
    )
    async def waiting(self, caller: Caller) -> Json:
        return {"delayed_events": await self._delayed.of_user(caller.user_id)}

    @endpoint(
        "GET",
        _PATH + "/{delay_id}",
        access=Access.GUEST,
        limit="delayed_event",
        spec="client-server-api/#sending-events-to-a-room",
    )
    async def one(self, caller: Caller, delay_id: str) -> Json:
        return await self._delayed.of_user_by_id(caller.user_id, delay_id)

    @endpoint(
        "POST",
        _PATH + "/{delay_id}",
        access=Access.OPTIONAL,
        limit="delayed_event",
        spec="client-server-api/#sending-events-to-a-room",
    )
    async def act(self, delay_id: str, body: DelayAction) -> Json:
        if body.action == "cancel":
            await self._delayed.cancel(delay_id)
        elif body.action == "restart":
            await self._delayed.restart(delay_id)
        else:
            await self._delayed.send(delay_id)
        return {}

    @endpoint(
        "POST",
        _PATH + "/{delay_id}/cancel",
        access=Access.OPTIONAL,
        limit="delayed_event",
        spec="client-server-api/#sending-events-to-a-room",
    )
    async def cancel(self, delay_id: str) -> Json:
        await self._delayed.cancel(delay_id)
        return {}

    @endpoint(
        "POST",
        _PATH + "/{delay_id}/restart",
        access=Access.OPTIONAL,
        limit="delayed_event",
        spec="client-server-api/#sending-events-to-a-room",
    )
    async def restart(self, delay_id: str) -> Json:
        await self._delayed.restart(delay_id)
        return {}

    @endpoint(
        "POST",
        _PATH + "/{delay_id}/send",
        access=Access.OPTIONAL,
        limit="delayed_event",
        spec="client-server-api/#sending-events-to-a-room",
    )
    async def send(self, delay_id: str) -> Json:
        await self._delayed.send(delay_id)
        return {}
