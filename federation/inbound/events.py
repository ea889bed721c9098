"""What other servers may read of rooms.

spec: server-server-api/#retrieving-events, #backfilling-and-retrieving-missing-events
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from federation.room_access import RoomAccess
from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import EventId, RoomId, ServerName, is_event_id
from homeserver.rooms.graph_reads import GraphReads
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.events import StoredEvent
from homeserver.web.endpoint import Access, Answer, Json, Request, endpoint

BACKFILL_MAX = 100
MISSING_MAX = 20
STARTS_MAX = 20


class AtEvent(msgspec.Struct, frozen=True):
    event_id: str


class AtTime(msgspec.Struct, frozen=True):
    ts: int
    dir: str


class MissingBody(msgspec.Struct, frozen=True):
    latest_events: list[str]
    earliest_events: list[str]
    limit: int = 10
    min_depth: int = 0


class FederatedEvents:
    """Events, states and auth chains as PDUs."""

    def __init__(self, access: RoomAccess, reads: GraphReads, clock: Clock) -> None:
        self._access = access
        self._reads = reads
        self._clock = clock

    @endpoint(
        "GET",
        "/_matrix/federation/v1/event/{event_id}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1eventeventid",
    )
    async def event(self, origin: ServerName, event_id: EventId) -> Answer:
        stored = (await self._reads.by_ids([event_id])).get(event_id)
        if stored is None or stored.flags:
            raise NotFound("there is no such event here")
        room = await self._access.shared_room(stored.event.room_id, origin)
        if stored.is_shown:
            stored = (await self._reads.shown_to(origin, room, [stored]))[0]
        return self._transaction([stored])

    @endpoint(
        "GET",
        "/_matrix/federation/v1/state/{room_id}",
        access=Access.SERVER,
        limit="federation_state",
        spec="server-server-api/#get_matrixfederationv1stateroomid",
    )
    async def state(self, origin: ServerName, room_id: RoomId, query: AtEvent) -> Answer:
        state, chain = await self._state(origin, room_id, query.event_id)
        return _answer({"pdus": _pdus(state), "auth_chain": _pdus(chain)})

    @endpoint(
        "GET",
        "/_matrix/federation/v1/state_ids/{room_id}",
        access=Access.SERVER,
        limit="federation_state",
        spec="server-server-api/#get_matrixfederationv1state_idsroomid",
    )
    async def state_ids(self, origin: ServerName, room_id: RoomId, query: AtEvent) -> Json:
        state, chain = await self._state(origin, room_id, query.event_id)
        return {
            "pdu_ids": [stored.event.event_id for stored in state],
            "auth_chain_ids": [stored.event.event_id for stored in chain],
        }

    @endpoint(
        "GET",
        "/_matrix/federation/v1/event_auth/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_auth",
        spec="server-server-api/#get_matrixfederationv1event_authroomideventid",
    )
    async def event_auth(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> Answer:
        room = await self._access.shared_room(room_id, origin)
        stored = await self._event_of(room, event_id)
        return _answer({"auth_chain": _pdus(await self._reads.chain_behind(room, [stored.event]))})

    @endpoint(
        "GET",
        "/_matrix/federation/v1/backfill/{room_id}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1backfillroomid",
    )
    async def backfill(self, origin: ServerName, room_id: RoomId, request: Request) -> Answer:
        room = await self._access.shared_room(room_id, origin)
        starts = _event_ids([value for key, value in request.raw_query.items() if key == "v"])
        limit = _limit(next((value for key, value in request.raw_query.items() if key == "limit"), "10"), BACKFILL_MAX)
        found = await self._reads.walk_back(room, starts, limit=limit)
        return self._transaction(await self._reads.shown_to(origin, room, found))

    @endpoint(
        "POST",
        "/_matrix/federation/v1/get_missing_events/{room_id}",
        access=Access.SERVER,
        spec="server-server-api/#post_matrixfederationv1get_missing_eventsroomid",
    )
    async def missing_events(self, origin: ServerName, room_id: RoomId, body: MissingBody) -> Answer:
        room = await self._access.shared_room(room_id, origin)
        latest, earliest = _event_ids(body.latest_events), set(_event_ids(body.earliest_events))
        limit = max(0, min(body.limit, MISSING_MAX))
        stored = await self._reads.by_ids(latest)
        starts = [name for one in stored.values() if one.room_nid == room.nid for name in one.event.prev_event_ids]
        stop = earliest | set(latest)
        found = await self._reads.walk_back(room, starts, limit=limit, stop=stop, min_depth=body.min_depth)
        shown = await self._reads.shown_to(origin, room, found)
        shown.sort(key=lambda one: one.event.depth)
        return _answer({"events": _pdus(shown)})

    @endpoint(
        "GET",
        "/_matrix/federation/v1/timestamp_to_event/{room_id}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1timestamp_to_eventroomid",
    )
    async def timestamp_to_event(self, origin: ServerName, room_id: RoomId, query: AtTime) -> Json:
        room = await self._access.shared_room(room_id, origin)
        if query.dir not in ("f", "b"):
            raise InvalidParam("dir must be f or b")
        if not -(2**53) < query.ts < 2**53:
            raise InvalidParam("ts must be milliseconds since 1970")
        stored = await self._reads.nearest(room, query.ts, later=query.dir == "f")
        if stored is None:
            raise NotFound("there is no event in that direction")
        return {"event_id": stored.event.event_id, "origin_server_ts": stored.event.origin_server_ts}

    async def _state(
        self, origin: ServerName, room_id: RoomId, event_id: str
    ) -> tuple[list[StoredEvent], list[StoredEvent]]:
        room = await self._access.shared_room(room_id, origin)
        if room.partial is not None:
            raise Forbidden("this server doesn't know all of the room's state yet")
        stored = await self._event_of(room, EventId(event_id))
        state = await self._reads.state_before(stored)
        if state is None:
            raise NotFound("the state before this event isn't known here")
        return state, await self._reads.chain_behind(room, [one.event for one in state])

    async def _event_of(self, room: Room, event_id: EventId) -> StoredEvent:
        stored = (await self._reads.by_ids([event_id])).get(event_id)
        if stored is None or stored.room_nid != room.nid or stored.is_lost:
            raise NotFound("there is no such event in this room")
        if stored.flags:
            raise Forbidden("this server didn't accept that event")
        return stored

    def _transaction(self, stored: Sequence[StoredEvent]) -> Answer:
        return _answer(
            {
                "origin": self._access.server_name,
                "origin_server_ts": self._clock.now_ms(),
                "pdus": _pdus(stored),
            }
        )


def _pdus(stored: Sequence[StoredEvent]) -> list[orjson.Fragment]:
    """Their bytes as they are stored: nothing is encoded again."""
    return [orjson.Fragment(one.event.canonical) for one in stored]


def _answer(value: dict[str, Any]) -> Answer:
    return Answer(orjson.dumps(value))


def _event_ids(values: Sequence[str]) -> list[EventId]:
    """Raises InvalidParam."""
    if len(values) > STARTS_MAX:
        raise InvalidParam(f"at most {STARTS_MAX} events may be named")
    if not all(is_event_id(value) for value in values):
        raise InvalidParam("these are no event ids")
    return [EventId(value) for value in values]


def _limit(value: str, most: int) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise InvalidParam("limit must be a number")
    return min(int(value), most)
