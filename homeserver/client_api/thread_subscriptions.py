"""Following threads: MSC4306 and MSC4308, as clients use them today."""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId, RoomId, parse_event_id
from homeserver.rooms.places import parse_place
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_PATH = "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription"
_ALL = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
_SPEC = "client-server-api/#threading"
PAGE_MAX = 500
_LAST = 2**62


class SubscriptionBody(msgspec.Struct, frozen=True):
    automatic: str | None = None


class ChangesQuery(msgspec.Struct, frozen=True):
    dir: str = "b"
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: int = 100


class ThreadSubscriptionEndpoints:
    """GET, PUT and DELETE of a subscription, and what changed of all."""

    def __init__(self, subscriptions: ThreadSubscriptions) -> None:
        self._subscriptions = subscriptions

    @endpoint("GET", _PATH, access=Access.USER, spec=_SPEC)
    async def get(self, caller: Caller, room_id: RoomId, event_id: EventId) -> Json:
        found = await self._subscriptions.get(caller.user_id, room_id, event_id)
        return {"automatic": found.is_automatic}

    @endpoint("PUT", _PATH, access=Access.USER, limit="account_data", spec=_SPEC)
    async def put(self, caller: Caller, room_id: RoomId, event_id: EventId, body: SubscriptionBody) -> Json:
        cause = parse_event_id(body.automatic) if body.automatic is not None else None
        await self._subscriptions.subscribe(caller.user_id, room_id, event_id, cause)
        return {}

    @endpoint("DELETE", _PATH, access=Access.USER, limit="account_data", spec=_SPEC)
    async def delete(self, caller: Caller, room_id: RoomId, event_id: EventId) -> Json:
        await self._subscriptions.unsubscribe(caller.user_id, room_id, event_id)
        return {}

    @endpoint("GET", _ALL, access=Access.USER, spec=_SPEC)
    async def changes(self, caller: Caller, query: ChangesQuery) -> Json:
        if query.dir != "b" or query.limit < 1:
            raise InvalidParam("dir must be b, and limit greater than 0")
        upto = parse_place(query.from_) - 1 if query.from_ else _LAST
        since = parse_place(query.to) - 1 if query.to else 0
        answer = await self._subscriptions.changes(caller.user_id, max(since, 0), upto, min(query.limit, PAGE_MAX))
        end = answer.pop("prev_batch", None)
        return {**answer, **({"end": end} if end is not None else {})}
