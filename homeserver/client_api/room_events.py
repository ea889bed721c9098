"""Single events, their surroundings, and the event nearest to a time.

spec: client-server-api/#getting-events-for-a-room
"""

from __future__ import annotations

import msgspec
import orjson

from homeserver.accounts.ignore_lists import IgnoreLists
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId, RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.history import History
from homeserver.rooms.unredacted import Unredacted
from homeserver.rooms.views import RoomViews, parse_direction, parse_query_filter, predicate
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

_V3 = "/_matrix/client/v3/rooms/{room_id}"
_R0 = "/_matrix/client/r0/rooms/{room_id}"
CONTEXT_MAX = 100


class EventQuery(msgspec.Struct, frozen=True):
    unredacted: bool = msgspec.field(default=False, name="fi.mau.msc2815.include_unredacted_content")


class ContextQuery(msgspec.Struct, frozen=True):
    limit: int = 10
    filter: str | None = None


class TimestampQuery(msgspec.Struct, frozen=True):
    ts: int
    dir: str = "f"


class RoomEvents:
    """GET /event, /context and /timestamp_to_event."""

    def __init__(self, history: History, views: RoomViews, unredacted: Unredacted, ignore_lists: IgnoreLists) -> None:
        self._history = history
        self._ignore_lists = ignore_lists
        self._unredacted = unredacted
        self._views = views

    @endpoint(
        "GET",
        _V3 + "/event/{event_id}",
        _R0 + "/event/{event_id}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomideventeventid",
    )
    async def event(self, caller: Caller, room_id: RoomId, event_id: EventId, query: EventQuery) -> Answer:
        if query.unredacted:
            stored = await self._unredacted.event_of(caller.user_id, room_id, event_id, is_admin=caller.is_admin)
        else:
            stored = await self._history.event_of(caller.user_id, room_id, event_id)
        (rendered,) = await self._views.events([stored], Viewer(caller.user_id, caller.device_id))
        return Answer(orjson.dumps(rendered))

    @endpoint(
        "GET",
        _V3 + "/context/{event_id}",
        _R0 + "/context/{event_id}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidcontexteventid",
    )
    async def context(self, caller: Caller, room_id: RoomId, event_id: EventId, query: ContextQuery) -> Answer:
        if query.limit < 0:
            raise InvalidParam("limit must not be negative")
        wanted = parse_query_filter(query.filter)
        room = await self._history.room_for(caller.user_id, room_id)
        heard = predicate(wanted, room, await self._ignore_lists.ignored_by(caller.user_id))
        around = await self._history.around(
            caller.user_id, room, event_id, limit=min(query.limit, CONTEXT_MAX), wanted=heard
        )
        viewer = Viewer(caller.user_id, caller.device_id)
        return Answer(orjson.dumps(await self._views.context(room, around, wanted, viewer)))

    @endpoint(
        "GET",
        "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event",
    )
    async def timestamp_to_event(self, caller: Caller, room_id: RoomId, query: TimestampQuery) -> Json:
        later = parse_direction(query.dir) == "f"
        if not -(2**53) < query.ts < 2**53:
            raise InvalidParam("ts must be milliseconds since 1970")
        room = await self._history.room_for(caller.user_id, room_id)
        found = await self._history.nearest(caller.user_id, room, query.ts, later=later)
        return {"event_id": found.event.event_id, "origin_server_ts": found.event.origin_server_ts}
