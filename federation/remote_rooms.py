"""Rooms that live on other servers: coming in, knocking, leaving, inviting, finding. Implements `ports.RemoteRooms`.

spec: server-server-api/#joining-rooms, #knocking-upon-a-room, #leaving-rooms-rejecting-invites, #inviting-to-a-room
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from federation.candidates import Candidates
from federation.client import FederationError, Unreachable
from federation.intake import RoomIntake
from federation.pdu_checks import PduChecks, awaited
from federation.peers import Peers
from federation.resync import Resync
from federation.room_access import joined_servers
from federation.room_told import public_rooms_told, shown_state
from federation.templates import filled
from homeserver.core.errors import Forbidden, InvalidEvent, MatrixError, NotFound, RemoteFault, RuleBroken
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import RoomAlias, RoomId, ServerName, UserId, domain_of, is_room_id, is_server_name
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.core.signing import Signer
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.rooms.incoming import Incoming, RoomSnapshot
from homeserver.rooms.residents import Room, Rooms, is_in
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

log = structlog.get_logger()

T = TypeVar("T")
U = TypeVar("U")
Made = tuple[RoomVersion, Event]
SERVERS_TRIED_MAX = 8
# After this time no further server is tried: nobody waits so long.
TRYING_S = 120.0
STATE_EVENTS_MAX = 500_000
SERVERS_TOLD_MAX = 50_000
STRIPPED_TYPES = tuple(
    "m.room." + name for name in "create name avatar topic join_rules canonical_alias encryption".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSide:
    """What we bring to an event that is made with another server."""

    signer: Signer
    clock: Clock
    randomness: Randomness

    def new_event_id(self) -> str:
        return f"${self.randomness.letters(18)}:{self.signer.server_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSide:
    """The rooms package as federation uses it."""

    rooms: Rooms
    writer: RoomWriter
    incoming: Incoming
    intake: RoomIntake
    resync: Resync


class FederatedRooms:
    """Other servers' rooms, for users of ours."""

    def __init__(self, peers: Peers, checks: PduChecks, own: OwnSide, side: RoomSide) -> None:
        self._peers = peers
        self._checks = checks
        self._own = own
        self._side = side
        self._turns: WeakValueDictionary[tuple[RoomId, UserId], asyncio.Lock] = WeakValueDictionary()

    # --- coming in and going

    async def join(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None:
        """Through the first of the candidates that lets the user in; durable when it returns. Raises MatrixError."""

        async def through(server: ServerName, made: Made) -> None:
            version, event = made
            answer = await self._peers.send_join(server, room_id, event.event_id, event.pdu)
            snapshot = await self._snapshot(server, version, room_id, event, answer)
            room = await self._side.rooms.get(room_id)
            if room is not None and (room.partial is not None or is_in(room, self._me)):
                # Others of ours are in, or were a moment ago: the join is an event like any other, but for who let the
                # user in.
                if await self._side.intake.take_through(room, snapshot.event, server) is not Fate.ACCEPTED:
                    raise Forbidden("the room's state doesn't allow it")
                return
            try:
                await self._side.incoming.enter(room_id, snapshot)
            except RuleBroken as broken:
                # As this server tells it: another one may know better.
                reason = f"the room's state doesn't allow it: {broken.reason}"
                raise FederationError(server, 403, "M_FORBIDDEN", reason) from None
            if snapshot.servers is not None:
                self._side.resync.begin(room_id)

        # A client that asks once more meanwhile makes no second event of the user's.
        async with self._turns.setdefault((room_id, user_id), asyncio.Lock()):
            room = await self._side.rooms.get(room_id)
            if room is not None and room.membership(user_id) == "join":
                return
            servers = await self._candidates(room_id, via, user_id)
            await self._through_one(servers, self._making("join", room_id, user_id, content), through)

    async def knock(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None:
        async def through(server: ServerName, made: Made) -> None:
            version, event = made
            answer = await self._peers.send_knock(server, room_id, event.event_id, event.pdu)
            told = answer.get("knock_room_state")
            shown = shown_state(told) if isinstance(told, list) else []
            await self._side.incoming.note(room_id, version, event, shown)

        servers = await self._candidates(room_id, via, user_id)
        await self._through_one(servers, self._making("knock", room_id, user_id, content), through)

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> None:
        """Tells the room's servers if one can be reached; the user is out of it in any case."""
        member = await self._side.rooms.outside_member(room_id, user_id)
        if member is None:
            raise Forbidden("you are not in this room")

        async def through(server: ServerName, made: Made) -> None:
            version, event = made
            await self._peers.send_leave(server, room_id, event.event_id, event.pdu)
            await self._side.incoming.note(room_id, version, event)

        candidates = await self._candidates(room_id, (), user_id)
        servers = [name for name in dict.fromkeys([domain_of(member.event.sender), *candidates]) if name != self._me]
        try:
            await self._through_one(servers, self._making("leave", room_id, user_id, content), through)
        except MatrixError:
            await self._leave_alone(user_id, room_id, content, member.event)

    async def _leave_alone(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any], member: Event) -> None:
        """A leave that no other server knows of: the user is rid of the invite all the same."""
        place = {"depth": member.depth + 1, "prev_events": [], "auth_events": []}
        event = self._filled(member.version, place, room_id, user_id, content)
        await self._side.incoming.note(room_id, member.version, event)

    # --- inviting

    async def invite(self, room_id: RoomId, draft: Draft) -> Event:
        event = await self._side.writer.propose(room_id, draft)
        room = await self._side.rooms.get(room_id)
        server = domain_of(draft.state_key or "")
        if room is None or server == self._me:
            raise NotFound("this server doesn't know the room")
        body = {
            "room_version": room.version.id,
            "event": event.pdu,
            "invite_room_state": _room_state(room, event),
        }
        try:
            answer = await self._peers.invite(server, room_id, event.event_id, body)
        except (Unreachable, FederationError) as fault:
            raise fault.as_matrix_error() from None
        checked = await self._checks.check_one(room.version, {**event.pdu, "signatures": _signatures(event, answer)})
        if not isinstance(checked, Event) or checked.event_id != event.event_id:
            raise MatrixError(f"{server} answers with another event", status=502)
        fates = await self._side.incoming.take(room_id, [Arrival(event=checked)])
        if fates[0] is not Fate.ACCEPTED:
            raise Forbidden("the room has changed meanwhile")
        return checked

    async def check_reachable(self, servers: Collection[str]) -> None:
        for server in servers:
            try:
                await self._peers.version(ServerName(server))
            except RemoteFault:
                raise MatrixError(f"{server} can't be reached", status=502) from None

    # --- finding

    async def resolve_alias(self, alias: RoomAlias) -> tuple[RoomId, Sequence[ServerName]]:
        server = domain_of(alias)
        try:
            answer = await self._peers.directory(server, alias)
        except (Unreachable, FederationError) as fault:
            raise NotFound(f"nobody knows the alias {alias}") from fault
        room_id, servers = answer.get("room_id"), answer.get("servers")
        if not is_room_id(room_id):
            raise NotFound(f"nobody knows the alias {alias}")
        named = [ServerName(name) for name in servers if isinstance(name, str)] if isinstance(servers, list) else []
        return RoomId(str(room_id)), [*named, server]

    async def hierarchy(self, room_id: RoomId, via: Sequence[ServerName]) -> Mapping[str, Any]:
        servers = [server for server in dict.fromkeys(via) if server != self._me]
        return await self._through_one(servers, lambda server: self._peers.hierarchy(server, room_id), _as_it_is)

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return public_rooms_told(await self._peers.public_rooms(server, query))
        except (Unreachable, FederationError) as fault:
            raise fault.as_matrix_error() from None

    # --- inside

    @property
    def _me(self) -> ServerName:
        return self._own.signer.server_name

    async def _candidates(self, room_id: RoomId, via: Sequence[ServerName], user_id: UserId) -> list[ServerName]:
        """Servers that may know the room, the likeliest first, those that are down last; never ourselves.

        Who names some means these.
        """
        found = list(via)
        member = await self._side.rooms.outside_member(room_id, user_id)
        if member is not None:
            found.append(domain_of(member.event.sender))
        room = await self._side.rooms.get(room_id)
        if room is not None and not via:
            found += joined_servers(room)
        if ":" in room_id and not found:
            found.append(domain_of(room_id))
        others = [server for server in dict.fromkeys(found) if server != self._me]
        return self._peers.by_hope(others)[:SERVERS_TRIED_MAX]

    async def _through_one(
        self,
        servers: Sequence[ServerName],
        ask: Callable[[ServerName], Awaitable[T]],
        use: Callable[[ServerName, T], Awaitable[U]],
    ) -> U:
        """What `use` makes of the first answer that it succeeds with; else what the most telling refusal says.

        Some servers are asked at once, but an answer is used while nothing else goes on: what it sends is sent to one
        server after the other.
        """
        refusal: MatrixError | None = None
        until_s = self._own.clock.monotonic_s() + TRYING_S
        async with Candidates(servers, ask, self._own.clock) as candidates:
            while (answered := await candidates.next()) is not None:
                server, question = answered
                try:
                    answer = question.result()
                    await candidates.hold()
                    return await use(server, answer)
                except (Unreachable, FederationError) as fault:
                    log.info("remote_room_refused", server=server, reason=str(fault))
                    told = fault.as_matrix_error()
                    if refusal is None or refusal.http_status >= 500 or told.http_status == 403:
                        refusal = told
                except (InvalidEvent, RemoteFault) as fault:
                    log.info("remote_room_refused", server=server, reason=str(fault))
                    refusal = refusal or MatrixError(f"{server} gives a wrong answer", status=502)
                if self._own.clock.monotonic_s() >= until_s:
                    break
        raise refusal or NotFound("no server that is in this room can be reached")

    def _making(
        self, verb: str, room_id: RoomId, user_id: UserId, content: Mapping[str, Any]
    ) -> Callable[[ServerName], Awaitable[Made]]:
        return lambda server: self._member_event(verb, server, room_id, user_id, content)

    async def _member_event(
        self, verb: str, server: ServerName, room_id: RoomId, user_id: UserId, content: Mapping[str, Any]
    ) -> Made:
        versions = list(ROOM_VERSIONS) if verb != "leave" else []
        answer = await self._peers.make_membership(verb, server, room_id, user_id, versions)
        template, named = answer.get("event"), answer.get("room_version", "1")
        version = ROOM_VERSIONS.get(named) if isinstance(named, str) else None
        if not isinstance(template, dict) or version is None:
            raise FederationError(server, 200, "M_BAD_JSON", "the template isn't what it should be")
        for key, wanted in (("type", "m.room.member"), ("sender", user_id), ("state_key", user_id)):
            if template.get(key) != wanted:
                raise FederationError(server, 200, "M_BAD_JSON", f"the template's {key} isn't what was asked for")
        return version, self._filled(version, template, room_id, user_id, content)

    def _filled(
        self,
        version: RoomVersion,
        template: Mapping[str, Any],
        room_id: RoomId,
        user_id: UserId,
        content: Mapping[str, Any],
    ) -> Event:
        return filled(
            version,
            template,
            room_id=room_id,
            user_id=user_id,
            content=content,
            now_ms=self._own.clock.now_ms(),
            signer=self._own.signer,
            event_id=self._own.new_event_id(),
        )

    async def _snapshot(
        self, server: ServerName, version: RoomVersion, room_id: RoomId, event: Event, answer: Mapping[str, Any]
    ) -> RoomSnapshot:
        """The room as the answer to a join tells it, all of it checked. Raises FederationError."""
        state, chain = answer.get("state"), answer.get("auth_chain")
        if not isinstance(state, list) or not isinstance(chain, list) or len(state) + len(chain) > STATE_EVENTS_MAX:
            raise FederationError(server, 200, "M_BAD_JSON", "state and auth_chain must be lists")
        told = [*state, *chain]
        checked = await self._checks.check(version, told)
        mine = [one if isinstance(one, Event) and one.room_id == room_id else None for one in checked]
        events = [one for one in mine[: len(state)] if one is not None]
        create = next((one for one in events if one.type == "m.room.create" and one.state_key == ""), None)
        if create is None or str(create.content.get("room_version", "1")) != version.id:
            raise FederationError(server, 200, "M_BAD_JSON", "the state has no create event of this version")
        signed = answer.get("event")
        if isinstance(signed, dict) and "join_authorised_via_users_server" in event.content:
            whole = await self._checks.check_one(version, {**event.pdu, "signatures": _merged(event, signed)})
            if not isinstance(whole, Event) or whole.event_id != event.event_id:
                raise FederationError(server, 200, "M_BAD_JSON", "the join was not signed")
            event = whole
        return RoomSnapshot(
            version=version,
            state=events,
            auth_chain=[one for one in mine[len(state) :] if one is not None],
            event=event,
            servers=_servers_told(server, answer) if answer.get("members_omitted") is True else None,
            awaited=awaited(told, checked),
        )


async def _as_it_is(server: ServerName, answer: T) -> T:
    return answer


def _servers_told(server: ServerName, answer: Mapping[str, Any]) -> list[ServerName]:
    """Who is in the room, as the answer to a join says: first the server itself."""
    told = answer.get("servers_in_room")
    names = told[:SERVERS_TOLD_MAX] if isinstance(told, list) else []
    return [server, *(ServerName(name) for name in names if isinstance(name, str) and is_server_name(name))]


def _room_state(room: Room, invite: Event) -> list[dict[str, Any]]:
    """What an invited user may know of a room, as whole events: the server that shows it can check them."""
    known = [room.known_state(event_type) for event_type in STRIPPED_TYPES]
    member = room.head.known.get(("m.room.member", invite.sender))
    return [event.pdu for event in (*known, member) if event is not None]


def _signatures(event: Event, answer: Mapping[str, Any]) -> dict[str, Any]:
    signed = answer.get("event")
    return _merged(event, signed if isinstance(signed, dict) else {})


def _merged(event: Event, signed: Mapping[str, Any]) -> dict[str, Any]:
    """Our signatures, and those that the other server added."""
    theirs = signed.get("signatures")
    added = {name: keys for name, keys in theirs.items() if isinstance(keys, dict)} if isinstance(theirs, dict) else {}
    return {**added, **event.pdu["signatures"]}
