"""Users of other servers who come into our rooms, leave or knock.

spec: server-server-api/#joining-rooms, #knocking-upon-a-room, #leaving-rooms-rejecting-invites
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from federation.intake import RoomIntake
from federation.pdu_checks import PduChecks
from federation.room_access import RoomAccess, joined_servers
from federation.templates import template_of
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.rooms.arrivals import Fate
from homeserver.rooms.commands.remote_members import RemoteMembers
from homeserver.rooms.graph_reads import GraphReads
from homeserver.rooms.residents import Room
from homeserver.storage.events import StoredEvent
from homeserver.sync.summaries import has_name, heroes_of
from homeserver.web.endpoint import Access, Answer, Json, Request, endpoint

STRIPPED_TYPES = tuple(
    "m.room." + name for name in "create name avatar topic join_rules canonical_alias encryption".split()
)


class JoinQuery(msgspec.Struct, frozen=True):
    omit_members: str = "false"


class FederatedMemberships:
    """make_… and send_… of joins, leaves and knocks."""

    def __init__(
        self, access: RoomAccess, checks: PduChecks, intake: RoomIntake, members: RemoteMembers, reads: GraphReads
    ) -> None:
        self._access = access
        self._checks = checks
        self._intake = intake
        self._members = members
        self._reads = reads

    # --- templates

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_join/{room_id}/{user_id}",
        access=Access.SERVER,
        limit="federation_join",
        spec="server-server-api/#get_matrixfederationv1make_joinroomiduserid",
    )
    async def make_join(self, origin: ServerName, room_id: RoomId, user_id: UserId, request: Request) -> Json:
        room = await self._room_for(room_id, origin, user_id, is_coming=True)
        _check_version(room, [value for key, value in request.raw_query.items() if key == "ver"] or ["1"])
        return await self._template(room, user_id, "join")

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_knock/{room_id}/{user_id}",
        access=Access.SERVER,
        limit="federation_join",
        spec="server-server-api/#get_matrixfederationv1make_knockroomiduserid",
    )
    async def make_knock(self, origin: ServerName, room_id: RoomId, user_id: UserId, request: Request) -> Json:
        room = await self._room_for(room_id, origin, user_id, is_coming=True)
        _check_version(room, [value for key, value in request.raw_query.items() if key == "ver"])
        return await self._template(room, user_id, "knock")

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_leave/{room_id}/{user_id}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1make_leaveroomiduserid",
    )
    async def make_leave(self, origin: ServerName, room_id: RoomId, user_id: UserId) -> Json:
        return await self._template(await self._room_for(room_id, origin, user_id), user_id, "leave")

    # --- events

    @endpoint(
        "PUT",
        "/_matrix/federation/v2/send_join/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_join",
        spec="server-server-api/#put_matrixfederationv2send_joinroomideventid",
    )
    async def send_join(
        self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json, query: JoinQuery
    ) -> Answer:
        omits = query.omit_members == "true"
        return Answer(orjson.dumps(await self._joined(origin, room_id, event_id, body, omits_members=omits)))

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send_join/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_join",
        spec="server-server-api/#put_matrixfederationv2send_joinroomideventid",
    )
    async def send_join_v1(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Answer:
        return Answer(orjson.dumps([200, await self._joined(origin, room_id, event_id, body)]))

    @endpoint(
        "PUT",
        "/_matrix/federation/v2/send_leave/{room_id}/{event_id}",
        access=Access.SERVER,
        spec="server-server-api/#put_matrixfederationv2send_leaveroomideventid",
    )
    async def send_leave(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Json:
        room = await self._access.open_room(room_id, origin)
        await self._taken(room, await self._member_event(room, origin, event_id, body, "leave"), origin)
        return {}

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
        access=Access.SERVER,
        spec="server-server-api/#put_matrixfederationv2send_leaveroomideventid",
    )
    async def send_leave_v1(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Answer:
        return Answer(orjson.dumps([200, await self.send_leave(origin, room_id, event_id, body)]))

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send_knock/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_join",
        spec="server-server-api/#put_matrixfederationv1send_knockroomideventid",
    )
    async def send_knock(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Json:
        room = await self._access.whole_room(room_id, origin)
        await self._taken(room, await self._member_event(room, origin, event_id, body, "knock"), origin)
        known = [room.known_state(event_type) for event_type in STRIPPED_TYPES]
        return {"knock_room_state": [event.pdu for event in known if event is not None]}

    # --- inside

    async def _room_for(self, room_id: RoomId, origin: ServerName, user_id: UserId, *, is_coming: bool = False) -> Room:
        if domain_of(user_id) != origin:
            raise Forbidden("a server speaks for its own users")
        if is_coming:
            return await self._access.whole_room(room_id, origin)
        return await self._access.open_room(room_id, origin)

    async def _template(self, room: Room, user_id: UserId, membership: str) -> Json:
        event = await self._members.propose(room, user_id, membership)
        return {"room_version": room.version.id, "event": template_of(event)}

    async def _joined(
        self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json, *, omits_members: bool = False
    ) -> Json:
        room = await self._access.whole_room(room_id, origin)
        signed = self._members.cosigned(room.version, body)
        event = await self._member_event(room, origin, event_id, signed, "join")
        await self._members.check_authorised(room, event)
        servers = joined_servers(room)
        stored = await self._taken(room, event, origin)
        whole = await self._reads.state_before(stored) or []
        state = _without_members(room, event.sender, whole) if omits_members else whole
        chain = await self._reads.chain_behind(room, [event, *(one.event for one in state)])
        if omits_members:
            told = {one.event.event_id for one in state}
            chain = [one for one in chain if one.event.event_id not in told]
        return {
            "origin": self._access.server_name,
            "event": orjson.Fragment(event.canonical),
            "state": _pdus(state),
            "auth_chain": _pdus(chain),
            "members_omitted": len(state) < len(whole),
            "servers_in_room": servers,
        }

    async def _member_event(
        self, room: Room, origin: ServerName, event_id: EventId, pdu: Json, membership: str
    ) -> Event:
        """The event that another server made of a template. Raises InvalidParam and Forbidden."""
        event = await self._checks.check_one(room.version, pdu)
        if not isinstance(event, Event):
            raise Forbidden(event) if "signature" in event else InvalidParam(event)
        if event.event_id != event_id:
            raise InvalidParam("the path names another event")
        if event.room_id != room.room_id or event.type != "m.room.member" or event.membership != membership:
            raise InvalidParam(f"this is no {membership} event of this room")
        if event.state_key != event.sender:
            raise InvalidParam("sender and state_key must be the same user")
        if domain_of(event.sender) != origin:
            raise Forbidden("a server speaks for its own users")
        return event

    async def _taken(self, room: Room, event: Event, origin: ServerName) -> StoredEvent:
        fate = await self._intake.take_through_us(room, event, origin)
        stored = (await self._reads.by_ids([event.event_id])).get(event.event_id)
        if stored is None or stored.flags or fate not in (Fate.ACCEPTED, Fate.KNOWN):
            raise Forbidden("the room's rules don't allow it")
        now = await self._access.open_room(room.room_id, origin)
        if now.membership(event.sender) != event.membership:
            # One of long ago, sent once more by a server that has been put out since: it is told nothing for it.
            raise Forbidden("the user's membership is another one by now")
        return stored


def _check_version(room: Room, versions: Sequence[str]) -> None:
    if room.version.id not in versions:
        raise MatrixError(
            f"the room's version is {room.version.id}",
            errcode="M_INCOMPATIBLE_ROOM_VERSION",
            extra={"room_version": room.version.id},
        )


def _without_members(room: Room, joining: UserId, state: Sequence[StoredEvent]) -> list[StoredEvent]:
    """The state without its members, but for those by whom a room without a name is called."""
    heroes = set() if has_name(room) else set(heroes_of(room, joining))
    return [one for one in state if one.event.type != "m.room.member" or one.event.state_key in heroes]


def _pdus(stored: Sequence[StoredEvent]) -> list[Any]:
    return [orjson.Fragment(one.event.canonical) for one in stored]
