"""A room's history in pages. spec: client-server-api/#get_matrixclientv3roomsroomidmessages"""

from __future__ import annotations

import msgspec
import orjson

from homeserver.accounts.ignore_lists import IgnoreLists
from homeserver.core.errors import InvalidParam, MissingParam
from homeserver.core.identifiers import RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.history import FIRST_PLACE, History
from homeserver.rooms.places import parse_place, place_token
from homeserver.rooms.views import RoomViews, parse_direction, parse_query_filter, predicate
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

PAGE_MAX = 1_000


class MessagesQuery(msgspec.Struct, frozen=True):
    dir: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: int = 10
    filter: str | None = None


class RoomMessages:
    """GET /messages."""

    def __init__(self, history: History, views: RoomViews, ignore_lists: IgnoreLists) -> None:
        self._history = history
        self._views = views
        self._ignore_lists = ignore_lists

    @endpoint(
        "GET",
        "/_matrix/client/v3/rooms/{room_id}/messages",
        "/_matrix/client/r0/rooms/{room_id}/messages",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidmessages",
    )
    async def messages(self, caller: Caller, room_id: RoomId, query: MessagesQuery) -> Answer:
        room = await self._history.room_for(caller.user_id, room_id)
        if query.dir is None:
            raise MissingParam("the query parameter dir is missing")
        backwards = parse_direction(query.dir) == "b"
        if query.limit < 0:
            raise InvalidParam("limit must not be negative")
        start = parse_place(query.from_) if query.from_ else None
        stop = parse_place(query.to) if query.to else None
        wanted = parse_query_filter(query.filter)
        limit = min(query.limit, wanted.limit if wanted.limit is not None else PAGE_MAX, PAGE_MAX)
        page = await self._history.page(
            caller.user_id,
            room,
            start=start,
            backwards=backwards,
            limit=limit,
            stop=stop,
            wanted=predicate(wanted, room, await self._ignore_lists.ignored_by(caller.user_id)),
        )
        viewer = Viewer(caller.user_id, caller.device_id)
        answer: Json = {
            "chunk": await self._views.events(page.events, viewer),
            "start": query.from_ or place_token(page.start if page.start != FIRST_PLACE else 0),
        }
        if page.end is not None:
            answer["end"] = place_token(page.end, beside=query.from_)
        if wanted.lazy_load_members and page.events:
            answer["state"] = await self._views.members_of(room, page.events, viewer)
        return Answer(orjson.dumps(answer))
