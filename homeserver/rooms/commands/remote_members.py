"""Users of other servers on their way into our rooms: what we propose to their servers, and what we vouch for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.events import Event, signed_form
from homeserver.core.identifiers import RoomId, UserId, domain_of
from homeserver.core.room_versions import RoomVersion
from homeserver.core.signing import Signer
from homeserver.rooms.commands.restricted_joins import authorising_user, needs_authorisation
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import RoomWriter

_AUTHORISER = "join_authorised_via_users_server"


class RemoteMembers:
    """Proposes member events of users of other servers."""

    def __init__(self, submission: Submission, writer: RoomWriter, rooms: Rooms, signer: Signer) -> None:
        self._submission = submission
        self._writer = writer
        self._rooms = rooms
        self._signer = signer

    async def propose(self, room: Room, user_id: UserId, membership: str) -> Event:
        """The event as it would be allowed now. Raises Forbidden, M_UNABLE_TO_GRANT_JOIN and its like."""
        content: dict[str, Any] = {"membership": membership}
        if membership == "knock" and not room.version.knocking:
            raise Forbidden("nobody can knock at this room")
        if membership == "join" and needs_authorisation(room, user_id):
            content[_AUTHORISER] = await self._authoriser(room, user_id)
        draft = self._submission.draft("m.room.member", user_id, content, user_id)
        event = await self._writer.propose(room.room_id, draft)
        if event.sender != user_id:
            raise Forbidden("there is such a member already")
        return event

    async def check_authorised(self, room: Room, event: Event) -> None:
        """Raises Forbidden where we would have to vouch for a restricted join that its rules don't allow."""
        named = event.content.get(_AUTHORISER)
        if not isinstance(named, str) or domain_of(named) != self._signer.server_name:
            return
        if needs_authorisation(room, event.sender):
            await self._authoriser(room, event.sender)

    def cosigned(self, version: RoomVersion, pdu: Mapping[str, Any]) -> dict[str, Any]:
        """The PDU with our signature beside its sender's, where it names a user of ours as its authoriser."""
        content, signatures = pdu.get("content"), pdu.get("signatures")
        named = content.get(_AUTHORISER) if isinstance(content, dict) else None
        own = self._signer.server_name
        if not isinstance(named, str) or domain_of(named) != own or not isinstance(signatures, dict):
            return dict(pdu)
        try:
            signature = self._signer.signature(signed_form(version, dict(pdu)))
        except (MatrixError, KeyError, TypeError, AttributeError):
            return dict(pdu)  # no event: the checks say what is wrong with it
        return {**pdu, "signatures": {**signatures, own: {self._signer.key_id: signature}}}

    async def _authoriser(self, room: Room, user_id: UserId) -> UserId:
        try:
            return await authorising_user(self._rooms, room, user_id, self._signer.server_name)
        except Forbidden:
            if not await self._knows_allowed_room(room):
                raise MatrixError(
                    "this server can't tell whether you may join", errcode="M_UNABLE_TO_AUTHORISE_JOIN"
                ) from None
            raise

    async def _knows_allowed_room(self, room: Room) -> bool:
        rules = room.known_state("m.room.join_rules")
        allow = rules.content.get("allow") if rules else None
        if not allow:
            return True  # there is nothing to know
        named = [entry.get("room_id") for entry in allow if isinstance(entry, dict)] if isinstance(allow, list) else []
        known = await self._rooms.get_many([RoomId(name) for name in named[:100] if isinstance(name, str)])
        own = ":" + self._signer.server_name
        return any(
            membership == "join" and user_id.endswith(own)
            for other in known.values()
            for user_id, membership in other.members.items()
        )
