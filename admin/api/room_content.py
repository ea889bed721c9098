"""What was said in rooms, for those who may read it: messages, contexts, single events."""

from __future__ import annotations

from typing import Annotated

import msgspec
import orjson

from admin.actions.room_tools import known_room
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import EventId
from homeserver.core.operators import Permission
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.history import FIRST_PLACE, History
from homeserver.rooms.places import parse_place, place_token
from homeserver.rooms.residents import Rooms
from homeserver.rooms.views import RoomViews, parse_direction, parse_query_filter, predicate
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, endpoint

_ROOM = "/_synapse/admin/v1/rooms/{room_id}"
_PAGE_MAX = 1_000
_CONTEXT_MAX = 100
_BETWEEN_SERVERS = ("auth_events", "prev_events", "depth", "hashes", "signatures")

Limit = Annotated[int, msgspec.Meta(ge=0)]


class MessagesQuery(msgspec.Struct, frozen=True):
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: Limit = 10
    dir: str = "f"
    filter: str | None = None


class ContextQuery(msgspec.Struct, frozen=True):
    limit: Limit = 10
    filter: str | None = None


class TimestampQuery(msgspec.Struct, frozen=True):
    ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    dir: str = "f"


class RoomContent:
    """Reads through `history`, which must show everything."""

    def __init__(self, history: History, rooms: Rooms, event_store: EventStore, views: RoomViews) -> None:
        self._history = history
        self._rooms = rooms
        self._events = event_store
        self._views = views

    @endpoint("GET", _ROOM + "/messages", access=Access.ADMIN, reach=Reach.ROOM, spec="", needs=Permission.READ_CONTENT)
    async def messages(self, operator: Operator, room_id: str, query: MessagesQuery) -> Answer:
        room = await known_room(self._rooms, room_id)
        wanted = parse_query_filter(query.filter)
        page = await self._history.page(
            operator.user_id,
            room,
            start=parse_place(query.from_) if query.from_ else None,
            stop=parse_place(query.to) if query.to else None,
            backwards=parse_direction(query.dir) == "b",
            limit=min(query.limit, _PAGE_MAX),
            wanted=predicate(wanted, room),
        )
        answer: Json = {
            "chunk": await self._views.events(page.events, Viewer(operator.user_id, is_operator=True)),
            "start": query.from_ or place_token(page.start if page.start != FIRST_PLACE else 0),
        }
        if page.end is not None:
            answer["end"] = place_token(page.end)
        return Answer(orjson.dumps(answer))

    @endpoint(
        "GET",
        _ROOM + "/context/{event_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_CONTENT,
    )
    async def context(self, operator: Operator, room_id: str, event_id: EventId, query: ContextQuery) -> Answer:
        room, viewer = await known_room(self._rooms, room_id), Viewer(operator.user_id, is_operator=True)
        wanted = parse_query_filter(query.filter)
        limit = min(query.limit, _CONTEXT_MAX)
        around = await self._history.around(
            operator.user_id, room, event_id, limit=limit, wanted=predicate(wanted, room)
        )
        return Answer(orjson.dumps(await self._views.context(room, around, wanted, viewer)))

    @endpoint(
        "GET",
        _ROOM + "/timestamp_to_event",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_ROOMS,
    )
    async def timestamp_to_event(self, operator: Operator, room_id: str, query: TimestampQuery) -> Json:
        room, later = await known_room(self._rooms, room_id), parse_direction(query.dir) == "f"
        found = await self._history.nearest(operator.user_id, room, query.ts, later=later)
        return {"event_id": found.event.event_id, "origin_server_ts": found.event.origin_server_ts}

    @endpoint(
        "GET",
        "/_synapse/admin/v1/fetch_event/{event_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.READ_CONTENT,
    )
    async def fetch_event(self, operator: Operator, event_id: EventId) -> Answer:
        stored = await self._events.by_id(event_id)
        if stored is None or stored.is_lost:
            raise NotFound("Event not found")
        operator.find_in_room(stored.event.room_id, "Event not found")
        (rendered,) = await self._views.events([stored], Viewer(operator.user_id, is_operator=True))
        # With what it says to other servers: who asks for one event wants to see all of it.
        signed = {key: value for key, value in stored.event.pdu.items() if key in _BETWEEN_SERVERS}
        return Answer(orjson.dumps({"event": {**orjson.loads(orjson.dumps(rendered)), **signed}}))
