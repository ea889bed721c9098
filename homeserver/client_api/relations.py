"""What relates to an event, and a room's threads. spec: client-server-api/#forming-relationships-between-events"""

from __future__ import annotations

import msgspec
import orjson

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId, RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.places import parse_place, place_token
from homeserver.rooms.related import Related, Wish
from homeserver.rooms.views import RoomViews, parse_direction
from homeserver.storage.relations import DEPTH_MAX
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

_V1 = "/_matrix/client/v1/rooms/{room_id}"
_UNSTABLE = "/_matrix/client/unstable/rooms/{room_id}"
PAGE_MAX = 500


class RelationsQuery(msgspec.Struct, frozen=True):
    dir: str = "b"
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: int = 30
    recurse: bool = False


class ThreadsQuery(msgspec.Struct, frozen=True):
    include: str = "all"
    limit: int = 30
    from_: str | None = msgspec.field(default=None, name="from")


class Relations:
    """GET /relations and /threads."""

    def __init__(self, related: Related, views: RoomViews) -> None:
        self._related = related
        self._views = views

    @endpoint(
        "GET",
        _V1 + "/relations/{event_id}",
        _UNSTABLE + "/relations/{event_id}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventid",
    )
    async def all(self, caller: Caller, room_id: RoomId, event_id: EventId, query: RelationsQuery) -> Answer:
        return await self._relations(caller, room_id, event_id, query)

    @endpoint(
        "GET",
        _V1 + "/relations/{event_id}/{rel_type}",
        _UNSTABLE + "/relations/{event_id}/{rel_type}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltype",
    )
    async def of_kind(
        self, caller: Caller, room_id: RoomId, event_id: EventId, rel_type: str, query: RelationsQuery
    ) -> Answer:
        return await self._relations(caller, room_id, event_id, query, rel_type)

    @endpoint(
        "GET",
        _V1 + "/relations/{event_id}/{rel_type}/{event_type}",
        _UNSTABLE + "/relations/{event_id}/{rel_type}/{event_type}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype",
    )
    async def of_type(
        self, caller: Caller, room_id: RoomId, event_id: EventId, rel_type: str, event_type: str, query: RelationsQuery
    ) -> Answer:
        return await self._relations(caller, room_id, event_id, query, rel_type, event_type)

    @endpoint(
        "GET", _V1 + "/threads", access=Access.GUEST, spec="client-server-api/#get_matrixclientv1roomsroomidthreads"
    )
    async def threads(self, caller: Caller, room_id: RoomId, query: ThreadsQuery) -> Answer:
        if query.include not in ("all", "participated"):
            raise InvalidParam("include must be all or participated")
        page = await self._related.threads(
            caller.user_id,
            room_id,
            only_own=query.include == "participated",
            before=parse_place(query.from_) if query.from_ else None,
            limit=_limit(query.limit),
        )
        answer: Json = {"chunk": await self._views.events(page.events, Viewer(caller.user_id, caller.device_id))}
        if page.end is not None:
            answer["next_batch"] = place_token(page.end)
        return Answer(orjson.dumps(answer))

    async def _relations(
        self,
        caller: Caller,
        room_id: RoomId,
        event_id: EventId,
        query: RelationsQuery,
        rel_type: str | None = None,
        event_type: str | None = None,
    ) -> Answer:
        wish = Wish(
            rel_type=rel_type,
            type=event_type,
            backwards=parse_direction(query.dir) == "b",
            recurse=query.recurse,
            start=parse_place(query.from_) if query.from_ else None,
            stop=parse_place(query.to) if query.to else None,
        )
        page = await self._related.relations(caller.user_id, room_id, event_id, wish, _limit(query.limit))
        answer: Json = {"chunk": await self._views.events(page.events, Viewer(caller.user_id, caller.device_id))}
        if page.end is not None:
            answer["next_batch"] = place_token(page.end)
        if query.from_:
            answer["prev_batch"] = query.from_
        if query.recurse:
            answer["recursion_depth"] = DEPTH_MAX
        return Answer(orjson.dumps(answer))


def _limit(limit: int) -> int:
    if limit < 1:
        raise InvalidParam("limit must be greater than 0")
    return min(limit, PAGE_MAX)
