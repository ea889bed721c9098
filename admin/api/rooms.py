"""Rooms listed and looked at: `/_synapse/admin/v1/rooms`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import orjson

from admin.actions.room_tools import known_room
from admin.storage import room_overviews, room_reads
from admin.storage.room_overviews import LARGEST_FIRST, ORDERS, Overview, RoomFilter
from admin.totals import Totals
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.operators import Permission
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.space_tree import summary
from homeserver.rooms.views import RoomViews
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, endpoint

_ROOMS = "/_synapse/admin/v1/rooms"
_PAGE_MAX = 1_000
_FAR = 10_000_000

Count = Annotated[int, msgspec.Meta(ge=0, le=_FAR)]


class RoomsQuery(msgspec.Struct, frozen=True):
    from_: Count = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    order_by: str = "name"
    dir: Literal["f", "b"] = "f"
    search_term: str | None = None
    public_rooms: bool | None = None
    empty_rooms: bool | None = None


class StateQuery(msgspec.Struct, frozen=True):
    type: str | None = None


class HierarchyQuery(msgspec.Struct, frozen=True):
    limit: Count | None = None
    max_depth: Count | None = None
    from_: str | None = msgspec.field(default=None, name="from")


class RoomLists:
    """All rooms, and one in detail."""

    def __init__(self, db: Database, rooms: Rooms, views: RoomViews, totals: Totals) -> None:
        self._db = db
        self._totals = totals
        self._rooms = rooms
        self._views = views

    @endpoint("GET", _ROOMS, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_ROOMS)
    async def list_rooms(self, operator: Operator, query: RoomsQuery) -> Json:
        if query.order_by not in ORDERS:
            raise InvalidParam(f"Unknown value for order_by: {query.order_by[:50]}")
        if query.search_term is not None and (not query.search_term or "\x00" in query.search_term):
            raise InvalidParam("search_term cannot be an empty string")
        backwards = (query.dir == "b") != (query.order_by in LARGEST_FIRST)
        wanted = RoomFilter(
            term=query.search_term,
            is_public=query.public_rooms,
            is_empty=query.empty_rooms,
            order_by=query.order_by,
            backwards=backwards,
            rooms=operator.rooms,
        )
        limit = min(query.limit, _PAGE_MAX)
        counted = replace(wanted, order_by="name", backwards=False)
        if wanted.term is None:
            total = await self._totals.of(counted, lambda: room_overviews.count(self._db, wanted))
            found = await room_overviews.page(self._db, wanted, limit, query.from_)
        else:  # looking for a word may find nearly all of them: said is that there are more
            found, total = await room_overviews.found(self._db, wanted, limit, query.from_)
        answer: Json = {
            "rooms": [as_json(one, is_published) for one, is_published in found],
            "offset": query.from_,
            "total_rooms": total,
        }
        if query.from_ + limit < total:
            answer["next_batch"] = query.from_ + limit
        if query.from_ > 0:
            answer["prev_batch"] = max(0, query.from_ - limit)
        return answer

    @endpoint("GET", _ROOMS + "/{room_id}", access=Access.ADMIN, reach=Reach.ROOM, spec="", needs=Permission.READ_ROOMS)
    async def details(self, room_id: str) -> Json:
        room = await known_room(self._rooms, room_id)
        found = await room_overviews.one(self._db, room.room_id)
        if found is None:
            raise NotFound("Room not found")
        devices = await room_reads.local_devices(self._db, room.nid)
        return {
            **as_json(*found),
            "avatar": found[0].avatar,
            "topic": found[0].topic,
            "joined_local_devices": devices,
            "forgotten": room.joined == 0 and await room_reads.is_forgotten(self._db, room.nid),
            "tombstoned": found[0].tombstoned,
            "replacement_room": room.known_text("m.room.tombstone", "replacement_room"),
        }

    @endpoint(
        "GET",
        _ROOMS + "/{room_id}/members",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_ROOMS,
    )
    async def members(self, room_id: str) -> Json:
        # All of them: after a join elsewhere that takes a while.
        room = await self._rooms.whole(await known_room(self._rooms, room_id))
        members = sorted(room.joined_members())
        return {"members": members, "total": len(members)}

    @endpoint(
        "GET",
        _ROOMS + "/{room_id}/state",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_CONTENT,
    )
    async def state(self, operator: Operator, room_id: str, query: StateQuery) -> Answer:
        room = await self._rooms.whole(await known_room(self._rooms, room_id))
        state = await self._rooms.full_state(room)
        if query.type:
            state = [one for one in state if one.event.type == query.type]
        return Answer(
            orjson.dumps({"state": await self._views.events(state, Viewer(operator.user_id, is_operator=True))})
        )

    @endpoint(
        "GET",
        _ROOMS + "/{room_id}/hierarchy",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_ROOMS,
    )
    async def hierarchy(self, operator: Operator, room_id: str, query: HierarchyQuery) -> Json:
        """The space's rooms, depth first, whoever may see them; those that this server doesn't know by id alone."""
        root = await known_room(self._rooms, room_id)
        limit = min(query.limit or 50, 50)
        start = int(query.from_) if query.from_ and query.from_.isdecimal() and len(query.from_) < 8 else 0
        found, waiting, seen = list[Json](), [(root.room_id, 0)], set[str]()
        while waiting and len(seen) < 1_000 and len(found) <= start + limit:
            wanted, depth = waiting.pop()
            if wanted in seen:
                continue
            seen.add(wanted)
            room = await self._rooms.get(wanted)
            named = await self._children(room) if room is not None else []
            children = [child for child in named if operator.has_room(child["state_key"])]
            about = summary(room) if room is not None else {"room_id": wanted}
            found.append({**about, "children_state": children})
            if query.max_depth is None or depth < query.max_depth:
                waiting += [(child["state_key"], depth + 1) for child in reversed(children)]
        answer: Json = {"rooms": found[start : start + limit]}
        if len(found) > start + limit:
            answer["next_batch"] = str(start + limit)
        return answer

    async def _children(self, room: Room) -> list[Json]:
        if room.known_text("m.room.create", "type") != "m.space":
            return []
        state = await self._rooms.full_state(room)
        children = [one.event for one in state if one.event.type == "m.space.child" and one.event.content.get("via")]
        return [
            {
                "type": event.type,
                "state_key": event.state_key,
                "content": event.content,
                "sender": event.sender,
                "origin_server_ts": event.origin_server_ts,
            }
            for event in sorted(children, key=lambda event: (event.origin_server_ts, event.state_key or ""))[:500]
        ]


def as_json(one: Overview, is_published: bool) -> dict[str, Any]:
    """A room as lists have it."""
    return {
        "room_id": one.room_id,
        "name": one.name,
        "canonical_alias": one.canonical_alias,
        "joined_members": one.joined_members,
        "joined_local_members": one.joined_local_members,
        "version": one.version,
        "creator": one.creator,
        "encryption": one.encryption,
        "federatable": one.federatable,
        "public": is_published,
        "join_rules": one.join_rules,
        "guest_access": one.guest_access,
        "history_visibility": one.history_visibility,
        "state_events": one.state_events,
        "room_type": one.room_type,
        "tombstoned": one.tombstoned,
    }
