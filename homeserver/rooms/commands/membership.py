"""Who is in a room: join, knock, invite, leave, kick, ban, unban. spec: client-server-api/#room-membership"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, Unavailable
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of, is_user_id
from homeserver.ports import Limits, MemberProfiles, RemoteRooms
from homeserver.rooms.ban_redactions import KEY
from homeserver.rooms.commands.emptied_rooms import former_servers
from homeserver.rooms.commands.restricted_joins import authorising_user, needs_authorisation
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Room, Rooms, is_in

REASON_CHARS_MAX = 1_000
SERVERS_ASKED_MAX = 8
# So long whoever comes into a room waits for its members, where those are just being fetched.
MEMBERS_WAIT_S = 1.0
MEMBERSHIPS = frozenset({"join", "invite", "knock", "leave", "ban"})
# What only the server may say: a client that sends it is not believed.
_SERVERS_OWN = frozenset({"membership", "join_authorised_via_users_server", "third_party_invite"})
# Steps that have limits of their own, by these names.
_COUNTED = frozenset({"join", "knock"})
_WITH_PROFILE = frozenset({"join", "invite", "knock"})


class Membership:
    """Changes memberships on behalf of users of this server."""

    def __init__(
        self, submission: Submission, rooms: Rooms, profiles: MemberProfiles, remote: RemoteRooms, limits: Limits
    ) -> None:
        self._submission = submission
        self._rooms = rooms
        self._profiles = profiles
        self._remote = remote
        self._limits = limits
        # Told who is about to be invited: a bridge may make the user. Set by the assembly.
        self.find_user: Callable[[UserId], Awaitable[bool]] = _nobody

    async def join(
        self,
        room_id: RoomId,
        user_id: UserId,
        *,
        own: Mapping[str, Any] = MappingProxyType({}),
        via: Sequence[ServerName] = (),
        is_guest: bool = False,
    ) -> None:
        """Nothing happens if the user is in the room. `own` is what the member event is to say beside the profile.

        Raises Forbidden, NotFound.
        """
        check_reason(own.get("reason"))
        own = {key: value for key, value in own.items() if key not in _SERVERS_OWN}
        room = await self._rooms.get(room_id)
        if room is not None and room.membership(user_id) == "join":
            return
        if is_guest:
            # Of a room that isn't known here nobody can say that it takes guests.
            _check_guest(room)
        if room is not None and room.partial is not None:
            room, via = await self._almost_whole(room, user_id, via)
        # While members are missing nobody here knows whether the user may come in.
        if room is None or room.partial is not None:
            await self._join_elsewhere(room_id, user_id, own, via)
            return
        if not self._is_here(room) and await self._is_joined_elsewhere(room, user_id, own, via):
            return
        if room.joined == 0 and await self._goes_on_elsewhere(
            room, user_id, via, lambda servers: self._join_elsewhere(room_id, user_id, own, servers)
        ):
            return
        try:
            await self._join_here(room, user_id, own)
        except MatrixError as error:
            others = self._others(room)
            if error.code != "M_UNABLE_TO_GRANT_JOIN" or not others:
                raise
            # Nobody here may let the user in; somebody elsewhere may.
            content = (await self._contents("join", [user_id], None))[user_id]
            await self._remote.join(user_id, room_id, [*via, *others], {**content, **own})

    async def knock(
        self, room_id: RoomId, user_id: UserId, *, reason: str | None = None, via: Sequence[ServerName] = ()
    ) -> None:
        """Raises Forbidden, NotFound."""
        check_reason(reason)
        room = await self._rooms.get(room_id)
        content = (await self._contents("knock", [user_id], reason))[user_id]

        async def elsewhere(servers: Sequence[ServerName]) -> None:
            await self._submission.judge(room_id, self._submission.draft("m.room.member", user_id, content, user_id))
            await self._remote.knock(user_id, room_id, servers, content)

        if room is None or not self._is_here(room):
            await elsewhere(via)
        elif room.joined or not await self._goes_on_elsewhere(room, user_id, via, elsewhere):
            await self._send(room_id, user_id, user_id, content)

    async def invite(self, room_id: RoomId, target: UserId, *, by: UserId, reason: str | None = None) -> None:
        """Raises Forbidden (M_INVITE_BLOCKED among it), LimitExceeded."""
        check_reason(reason)
        await self._visible_to(room_id, by, target)
        self.count_invites(by, [target], room_id)
        content = (await self._contents("invite", [target], reason))[target]
        await self._send(room_id, by, target, content)

    async def leave(self, room_id: RoomId, user_id: UserId, *, reason: str | None = None) -> None:
        """Leaves, rejects an invite or retracts a knock. Nothing happens if the user has left before."""
        check_reason(reason)
        room = await self._rooms.get(room_id)
        if room is not None:
            membership = room.membership(user_id)
        else:
            outside = await self._rooms.outside_member(room_id, user_id)
            membership = outside.event.membership if outside is not None else None
        content = {"membership": "leave", **_reason(reason)}
        if membership in ("invite", "knock") and await self._is_outside(room, room_id, user_id):
            await self._remote.leave(user_id, room_id, content)
        elif membership is None:
            raise Forbidden("you are not in this room")
        elif membership != "leave":
            await self._send(room_id, user_id, user_id, content)

    async def kick(
        self, room_id: RoomId, target: UserId, *, by: UserId, reason: str | None = None, redact_events: bool = False
    ) -> None:
        """Raises Forbidden, where there is nobody to kick too."""
        check_reason(reason)
        room = await self._visible_to(room_id, by, target)
        if room.membership(target) not in ("join", "invite", "knock"):
            raise Forbidden(f"{target} is not in the room")
        await self._send(room_id, by, target, {"membership": "leave", **_reason(reason), **_redacting(redact_events)})

    async def ban(
        self, room_id: RoomId, target: UserId, *, by: UserId, reason: str | None = None, redact_events: bool = False
    ) -> None:
        """`redact_events` takes along what the user said, where `by` may redact."""
        check_reason(reason)
        await self._visible_to(room_id, by, target)
        await self._send(room_id, by, target, {"membership": "ban", **_reason(reason), **_redacting(redact_events)})

    async def unban(self, room_id: RoomId, target: UserId, *, by: UserId, reason: str | None = None) -> None:
        """Raises Forbidden, where there is no ban too."""
        check_reason(reason)
        room = await self._visible_to(room_id, by, target)
        if room.membership(target) != "ban":
            raise Forbidden(f"{target} is not banned")
        await self._send(room_id, by, target, {"membership": "leave", **_reason(reason)})

    async def set(
        self,
        room_id: RoomId,
        sender: UserId,
        target: str,
        content: Mapping[str, Any],
        *,
        is_guest: bool = False,
        timestamp_ms: int | None = None,
    ) -> Event:
        """The member event that a client wrote itself, with the same checks as the commands above.

        Keys of its own stay, so that a name for one room can be set. Raises MatrixError.
        """
        membership = content.get("membership")
        if not isinstance(membership, str) or membership not in MEMBERSHIPS:
            raise MatrixError(f"membership must be one of {', '.join(sorted(MEMBERSHIPS))}", errcode="M_BAD_JSON")
        if not is_user_id(target):
            raise InvalidParam("the state key of a member event must be a user id")
        user_id = UserId(target)
        if is_guest and (user_id != sender or membership not in ("join", "leave")):
            # As the endpoints for it, which guests don't reach.
            raise Forbidden("guests only come and go", errcode="M_GUEST_ACCESS_FORBIDDEN")
        room = await self._visible_to(room_id, sender, user_id)
        own = {key: value for key, value in content.items() if key not in _SERVERS_OWN}
        check_reason(own.get("reason"))
        # As the endpoints that these have of their own. Who is in the room only changes how the room shows them.
        if user_id == sender and membership in _COUNTED and room.membership(sender) != "join":
            self._limits.check(membership, sender)
        if membership == "join" and user_id == sender:
            if is_guest:
                _check_guest(room)
            return await self._join_here(room, sender, own, timestamp_ms=timestamp_ms)
        if membership == "invite":
            self.count_invites(sender, [user_id], room_id)
        base = (await self._contents(membership, [user_id], None))[user_id]
        return await self._send(room_id, sender, user_id, {**base, **own}, timestamp_ms)

    def count_invites(self, sender: UserId, targets: Collection[UserId], room_id: RoomId | None = None) -> None:
        """Raises LimitExceeded where a user sends, or gets, or a room sees too many invites."""
        if not targets:
            return
        self._limits.check("invite_sender", sender, cost=len(targets))
        for target in targets:
            self._limits.check("invite_recipient", target)
        if room_id is not None:
            self._limits.check("invite_room", room_id)

    async def contents(self, membership: str, user_ids: Collection[UserId]) -> dict[UserId, dict[str, Any]]:
        """Member contents of several users, with what their profiles say. One query."""
        return await self._contents(membership, user_ids, None)

    async def _join_here(
        self,
        room: Room,
        user_id: UserId,
        own: Mapping[str, Any],
        *,
        timestamp_ms: int | None = None,
    ) -> Event:
        content = {**(await self._contents("join", [user_id], None))[user_id], **own}
        if needs_authorisation(room, user_id) and room.membership(user_id) != "ban":
            server_name = self._submission.server_name
            authoriser = await authorising_user(self._rooms, room, user_id, server_name)
            content["join_authorised_via_users_server"] = authoriser
        return await self._send(room.room_id, user_id, user_id, content, timestamp_ms)

    async def _send(
        self,
        room_id: RoomId,
        sender: UserId,
        target: UserId,
        content: dict[str, Any],
        timestamp_ms: int | None = None,
    ) -> Event:
        draft = self._submission.draft("m.room.member", sender, content, target, timestamp_ms=timestamp_ms)
        goes_out = content["membership"] == "invite" and not self._submission.is_local(target)
        if goes_out and not await self._submission.hides(room_id, draft):
            return await self._remote.invite(room_id, await self._submission.judge(room_id, draft))
        return await self._submission.send(room_id, draft)

    async def _contents(
        self, membership: str, user_ids: Collection[UserId], reason: str | None
    ) -> dict[UserId, dict[str, Any]]:
        own = [user_id for user_id in user_ids if self._submission.is_local(user_id)]
        if membership == "invite":
            await asyncio.gather(*map(self.find_user, own))
        profiles = await self._profiles.member_fields(own) if own and membership in _WITH_PROFILE else {}
        return {
            user_id: {"membership": membership, **profiles.get(user_id, {}), **_reason(reason)} for user_id in user_ids
        }

    async def _visible_to(self, room_id: RoomId, user_id: UserId, target: UserId) -> Room:
        """The room, for somebody who has to do with it. Others learn nothing about it.

        Waits for missing members where `target` may be one of them.
        """
        room = await self._rooms.get(room_id)
        if room is None or (room.membership(user_id) is None and not _is_open(room)):
            raise Forbidden("you are not in this room")
        return room if self._submission.is_local(target) else await self._rooms.whole(room)

    async def _almost_whole(
        self, room: Room, user_id: UserId, via: Sequence[ServerName]
    ) -> tuple[Room, Sequence[ServerName]]:
        """A room whose members are missing, after a short wait for them; and who else may let the user in.

        Raises Forbidden for who is banned.
        """
        with contextlib.suppress(Unavailable):
            return await self._rooms.whole(room, wait_s=MEMBERS_WAIT_S), via
        if room.membership(user_id) == "ban":
            raise Forbidden("you are banned from this room")
        return room, [*via, *(room.partial.servers if room.partial is not None else ())][:SERVERS_ASKED_MAX]

    def _others(self, room: Room) -> list[ServerName]:
        """The other servers in a room, those of its most powerful users first."""
        levels = room.power_levels()
        named = sorted(levels.users().items(), key=lambda entry: -entry[1]) if levels is not None else []
        create = room.known_state("m.room.create")
        users = [*([create.sender] if create is not None else []), *(user_id for user_id, _ in named), *room.members]
        found = dict.fromkeys(
            domain_of(user_id)
            for user_id in users
            if room.membership(UserId(user_id)) == "join" and not self._submission.is_local(user_id)
        )
        return list(found)[:SERVERS_ASKED_MAX]

    async def _join_elsewhere(
        self, room_id: RoomId, user_id: UserId, own: Mapping[str, Any], via: Sequence[ServerName]
    ) -> None:
        content = {**(await self._contents("join", [user_id], None))[user_id], **own}
        await self._submission.judge(room_id, self._submission.draft("m.room.member", user_id, content, user_id))
        await self._remote.join(user_id, room_id, via, content)

    async def _is_joined_elsewhere(
        self, room: Room, user_id: UserId, own: Mapping[str, Any], via: Sequence[ServerName]
    ) -> bool:
        """Comes in through a server that is in the room. False: neither those that the user named nor those that were
        in it when ours left are, for their users left at the same time and neither side heard of it.

        Raises MatrixError.
        """
        for servers in [via, ()] if via else [()]:
            try:
                await self._join_elsewhere(room.room_id, user_id, own, servers)
                return True
            except MatrixError as error:
                if error.http_status != 404:
                    raise
        return False

    async def _goes_on_elsewhere(
        self,
        room: Room,
        user_id: UserId,
        via: Sequence[ServerName],
        enter: Callable[[Sequence[ServerName]], Awaitable[None]],
    ) -> bool:
        """Whether `enter` found somebody in a room that is empty as far as this server knows.

        Raises what the servers refuse with that the user, or an invite, named; also that none of them can be reached,
        for a room entered here meanwhile would be another one of the same name. Servers that only were in the room
        once have no say.
        """
        teller = await self._heard_from(room.room_id, user_id)
        me = self._submission.server_name
        named = [server for server in dict.fromkeys([*via, *teller]) if server != me]
        servers = named or former_servers(room, me)
        if not servers:
            return False
        try:
            await enter(servers)
        except MatrixError as error:
            is_as_good_here = error.http_status >= 500 and me in via
            if named and error.http_status != 404 and not is_as_good_here:
                raise
            return False
        return True

    async def _is_outside(self, room: Room | None, room_id: RoomId, user_id: UserId) -> bool:
        """Whether another server's word is all that is known of a user's membership."""
        if room is None or not self._is_here(room):
            return True
        return room.joined == 0 and bool(await self._heard_from(room_id, user_id))

    async def _heard_from(self, room_id: RoomId, user_id: UserId) -> list[ServerName]:
        """The server that told of a user's membership, where it is no part of the room as it is known here."""
        member = await self._rooms.outside_member(room_id, user_id)
        return [domain_of(member.event.sender)] if member is not None and not member.has_place else []

    def _is_here(self, room: Room) -> bool:
        """Whether this server takes part in the room, or nobody does as far as it knows."""
        if room.joined == 0 and room.partial is None:
            return True
        return is_in(room, self._submission.server_name)


def check_reason(reason: object) -> None:
    """Raises InvalidParam for a reason that is none, or too long."""
    if reason is not None and not (isinstance(reason, str) and len(reason) <= REASON_CHARS_MAX):
        raise InvalidParam(f"reason must be a string of at most {REASON_CHARS_MAX} characters")


def _redacting(redact_events: bool) -> dict[str, Any]:
    return {KEY: True} if redact_events else {}


def _reason(reason: str | None) -> dict[str, Any]:
    return {"reason": reason} if reason is not None else {}


def _is_open(room: Room) -> bool:
    """Whether a stranger may come in, or knock: then nothing is given away by saying that it exists."""
    rules = room.known_state("m.room.join_rules")
    return rules is not None and rules.content.get("join_rule") not in ("invite", "private")


def _check_guest(room: Room | None) -> None:
    if room is None or room.known_text("m.room.guest_access", "guest_access") != "can_join":
        raise Forbidden("guests may not join this room", errcode="M_GUEST_ACCESS_FORBIDDEN")


async def _nobody(user_id: UserId) -> bool:
    return False
