"""Looking into rooms, and the older way to follow them. spec: client-server-api/#room-previews

`/initialSync` and `/events` are deprecated in favour of /sync; clients and bots that look into rooms still call them.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import orjson

from homeserver.accounts.account_data import AccountData
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId, parse_room_id
from homeserver.journal.journal import Journal
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.history import History, Page
from homeserver.rooms.places import parse_place, place_token
from homeserver.rooms.residents import Rooms
from homeserver.rooms.views import RoomViews
from homeserver.rooms.watching import RoomWatch
from homeserver.storage import room_directory
from homeserver.storage.database import Reader
from homeserver.sync.service import SyncService, SyncWish
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

_V3, _R0 = "/_matrix/client/v3", "/_matrix/client/r0"
MESSAGES_MAX = 100
# Of this deprecated call; /sync tells of all.
INVITES_MAX = 20
TIMEOUT_MS_MAX = 60_000
# What a sync calls the state after the timeline: here it is the current one.
_STATE = "state_after"


class InitialQuery(msgspec.Struct, frozen=True):
    limit: int = 20
    archived: bool = False


class EventsQuery(msgspec.Struct, frozen=True):
    from_: str | None = msgspec.field(default=None, name="from")
    timeout: int = 0
    room_id: str | None = None


class RoomPeeking:
    """GET /rooms/{roomId}/initialSync."""

    def __init__(self, db: Reader, journal: Journal, history: History, views: RoomViews, data: AccountData) -> None:
        self._db = db
        self._journal = journal
        self._history = history
        self._views = views
        self._data = data

    @endpoint(
        "GET",
        _V3 + "/rooms/{room_id}/initialSync",
        _R0 + "/rooms/{room_id}/initialSync",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidinitialsync",
    )
    async def room(self, caller: Caller, room_id: RoomId, query: InitialQuery) -> Answer:
        upto = self._journal.visible
        room = await self._history.room_for(caller.user_id, room_id)
        viewer = Viewer(caller.user_id, caller.device_id)
        state = await self._views.whole_state(room, viewer)
        page = await self._history.page(caller.user_id, room, start=None, backwards=True, limit=_messages(query.limit))
        data = await self._data.of_rooms(caller.user_id, [room_id], with_account=False)
        shown = page.events[::-1]
        rendered = await self._views.events([*shown, *state], viewer)
        first = shown[0].ordering if shown else None
        answer: Json = {
            "room_id": room_id,
            "messages": {
                "chunk": rendered[: len(shown)],
                "start": place_token(first if first is not None else upto + 1),
                "end": f"s{upto}",
            },
            "state": rendered[len(shown) :],
            "visibility": "public" if await room_directory.is_published(self._db, room_id) else "private",
            "account_data": [{"type": datum.type, "content": datum.content} for datum in data],
        }
        membership = room.membership(caller.user_id)
        if membership in ("join", "invite", "leave", "ban"):
            answer["membership"] = membership
        return Answer(orjson.dumps(answer))


class EventStream:
    """GET /initialSync, /events and /events/{eventId}."""

    def __init__(self, sync: SyncService, history: History, views: RoomViews, rooms: Rooms, watch: RoomWatch) -> None:
        self._sync = sync
        self._history = history
        self._views = views
        self._rooms = rooms
        self._watch = watch

    @endpoint(
        "GET",
        _V3 + "/initialSync",
        _R0 + "/initialSync",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3initialsync",
    )
    async def initial(self, caller: Caller, query: InitialQuery) -> Answer:
        room: Json = {"timeline": {"limit": _messages(query.limit)}, "include_leave": query.archived}
        told = await self._told(caller, None, 0, {"room": room})
        sections = told.get("rooms", {})
        rooms = [
            _initial_room(room_id, membership, section, told["next_batch"])
            for membership in ("join", "leave")
            for room_id, section in sections.get(membership, {}).items()
        ]
        rooms += await self._invites(caller, list(sections.get("invite", {}))[:INVITES_MAX])
        answer: Json = {
            "end": told["next_batch"],
            "rooms": rooms,
            "presence": told.get("presence", {}).get("events", []),
            "account_data": told.get("account_data", {}).get("events", []),
        }
        return Answer(orjson.dumps(answer))

    @endpoint(
        "GET",
        _V3 + "/events",
        _R0 + "/events",
        access=Access.GUEST,
        timeout_s=None,
        waits=True,
        spec="client-server-api/#get_matrixclientv3events",
    )
    async def events(self, caller: Caller, query: EventsQuery) -> Answer:
        if query.timeout < 0:
            raise InvalidParam("timeout must not be negative")
        timeout_ms = min(query.timeout, TIMEOUT_MS_MAX)
        if query.room_id is not None:
            return await self._peek(caller, parse_room_id(query.room_id), query.from_, timeout_ms)
        start = query.from_ or f"s{self._watch.position}"
        told = await self._told(caller, start, timeout_ms, {"room": {"timeline": {"limit": MESSAGES_MAX}}})
        sections = told.get("rooms", {})
        # Events of rooms alone, as the specification has it: presence and typing are for /sync.
        chunk = [
            {**event, "room_id": room_id}
            for membership in ("join", "leave")
            for room_id, section in sections.get(membership, {}).items()
            for event in section["timeline"]["events"]
        ]
        chunk += [one["invite"] for one in await self._invites(caller, list(sections.get("invite", {}))[:INVITES_MAX])]
        return Answer(orjson.dumps({"chunk": chunk, "start": start, "end": told["next_batch"]}))

    @endpoint(
        "GET",
        _V3 + "/events/{event_id}",
        _R0 + "/events/{event_id}",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3eventseventid",
    )
    async def event(self, caller: Caller, event_id: EventId) -> Answer:
        event = await self._rooms.event(event_id)
        if event is None:
            raise NotFound("there is no such event, or you may not see it")
        stored = await self._history.event_of(caller.user_id, event.room_id, event_id)
        (rendered,) = await self._views.events([stored], Viewer(caller.user_id, caller.device_id))
        return Answer(orjson.dumps(rendered))

    async def _peek(self, caller: Caller, room_id: RoomId, since: str | None, timeout_ms: int) -> Answer:
        """Events of one room that the caller may look into; waits for some where there are none yet."""
        room = await self._history.room_for(caller.user_id, room_id)
        start = parse_place(since) if since else room.newest + 1
        with self._watch.watching(room_id) as woken:
            page, upto = await self._after(caller.user_id, room_id, start)
            if not page.events and timeout_ms:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_ms / 1000):
                        await woken.wait()
                page, upto = await self._after(caller.user_id, room_id, start)
        end = page.end if page.end is not None else max(upto + 1, start)
        chunk = await self._views.events(page.events, Viewer(caller.user_id, caller.device_id))
        return Answer(orjson.dumps({"chunk": chunk, "start": place_token(start), "end": place_token(end)}))

    async def _invites(self, caller: Caller, room_ids: list[str]) -> list[Json]:
        """Each room with the event that invites."""
        found = [await self._rooms.outside_member(RoomId(room_id), caller.user_id) for room_id in room_ids]
        stored = [one for one in found if one is not None]
        rendered = await self._views.events(stored, Viewer(caller.user_id, caller.device_id))
        return [
            {"room_id": one.event.room_id, "membership": "invite", "invite": event, "state": []}
            for one, event in zip(stored, rendered, strict=True)
        ]

    async def _after(self, viewer: UserId, room_id: RoomId, start: int) -> tuple[Page, int]:
        room = await self._history.room_for(viewer, room_id)
        page = await self._history.page(
            viewer, room, start=start, backwards=False, limit=MESSAGES_MAX, stop=room.newest + 1
        )
        return page, room.newest

    async def _told(self, caller: Caller, since: str | None, timeout_ms: int, wanted: Json) -> Json:
        asked = orjson.dumps(wanted).decode()
        wish = SyncWish(since=since, filter=asked, timeout_ms=timeout_ms, state_after=_STATE)
        told: Json = orjson.loads(await self._sync.sync(caller.user_id, caller.device_id, wish))
        return told


def _messages(limit: int) -> int:
    if limit < 0:
        raise InvalidParam("limit must not be negative")
    return max(1, min(limit, MESSAGES_MAX))


def _initial_room(room_id: str, membership: str, section: Json, end: str) -> Json:
    timeline = section["timeline"]
    return {
        "room_id": room_id,
        "membership": membership,
        "messages": {
            "chunk": [{**event, "room_id": room_id} for event in timeline["events"]],
            "start": timeline["prev_batch"],
            "end": end,
        },
        "state": [{**event, "room_id": room_id} for event in section[_STATE]["events"]],
        "account_data": section.get("account_data", {}).get("events", []),
    }
