"""spec: client-server-api/#get_matrixclientv3roomsroomidstate and its neighbours"""

from __future__ import annotations

from typing import Literal

import msgspec
import orjson

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.commands.delaying import DelayedEvents
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.history import History
from homeserver.rooms.views import RoomViews
from homeserver.web.binding import StickyMs, Timestamp
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

_V3 = "/_matrix/client/v3/rooms/{room_id}/state"
_R0 = "/_matrix/client/r0/rooms/{room_id}/state"


class StateQuery(msgspec.Struct, frozen=True):
    format: Literal["content", "event"] = "content"


class SetStateQuery(msgspec.Struct, frozen=True):
    ts: Timestamp | None = None
    delay_ms: int | None = msgspec.field(default=None, name="org.matrix.msc4140.delay")
    sticky_ms: StickyMs | None = msgspec.field(default=None, name="org.matrix.msc4354.sticky_duration_ms")


class RoomState:
    """GET and PUT /rooms/{roomId}/state."""

    def __init__(
        self,
        sending: Sending,
        delayed: DelayedEvents,
        membership: Membership,
        history: History,
        views: RoomViews,
    ) -> None:
        self._sending = sending
        self._delayed = delayed
        self._membership = membership
        self._history = history
        self._views = views

    @endpoint("GET", _V3, _R0, access=Access.GUEST, spec="client-server-api/#get_matrixclientv3roomsroomidstate")
    async def room_state(self, caller: Caller, room_id: RoomId) -> Answer:
        room = await self._history.room_for(caller.user_id, room_id)
        viewer = Viewer(caller.user_id, caller.device_id)
        stored = await self._views.whole_state(room, viewer)
        return Answer(orjson.dumps(await self._views.events(stored, viewer)))

    @endpoint(
        "GET",
        _V3 + "/{event_type}/{state_key}",
        _R0 + "/{event_type}/{state_key}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def state_with_key(
        self, caller: Caller, room_id: RoomId, event_type: str, state_key: str, query: StateQuery
    ) -> Answer:
        room = await self._history.room_for(caller.user_id, room_id)
        stored = await self._history.state_event_for(caller.user_id, room, (event_type, state_key))
        if stored is None:
            raise NotFound("the room has no such state")
        if query.format == "content":
            return Answer(orjson.dumps(stored.event.content))
        (rendered,) = await self._views.events([stored], Viewer(caller.user_id, caller.device_id))
        return Answer(orjson.dumps(rendered))

    @endpoint(
        "GET",
        _V3 + "/{event_type}",
        _R0 + "/{event_type}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def state(self, caller: Caller, room_id: RoomId, event_type: str, query: StateQuery) -> Answer:
        return await self.state_with_key(caller, room_id, event_type, "", query)

    @endpoint(
        "PUT",
        _V3 + "/{event_type}/{state_key}",
        _R0 + "/{event_type}/{state_key}",
        access=Access.GUEST,
        limit="message",
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def set_state_with_key(
        self, caller: Caller, room_id: RoomId, event_type: str, state_key: str, query: SetStateQuery, body: Json
    ) -> Json:
        if event_type == "m.room.member" and query.sticky_ms is not None:
            raise InvalidParam("memberships don't stick: they are told as long as they hold")
        if query.delay_ms is not None:
            place = (room_id, event_type, state_key)
            return {
                "delay_id": await self._delayed.delay(
                    place, caller.user_id, caller.device_id, body, query.delay_ms, sticky_ms=query.sticky_ms
                )
            }
        timestamp_ms = query.ts if caller.appservice_id is not None else None
        if event_type == "m.room.member":
            event = await self._membership.set(
                room_id, caller.user_id, state_key, body, is_guest=caller.is_guest, timestamp_ms=timestamp_ms
            )
        else:
            event = await self._sending.state(
                room_id, caller.user_id, event_type, state_key, body, timestamp_ms, query.sticky_ms
            )
        return {"event_id": event.event_id}

    @endpoint(
        "PUT",
        _V3 + "/{event_type}",
        _R0 + "/{event_type}",
        access=Access.GUEST,
        limit="message",
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey",
    )
    async def set_state(
        self, caller: Caller, room_id: RoomId, event_type: str, query: SetStateQuery, body: Json
    ) -> Json:
        return await self.set_state_with_key(caller, room_id, event_type, "", query, body)
