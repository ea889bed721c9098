"""Invites to users of ours. spec: server-server-api/#inviting-to-a-room"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import msgspec
import orjson

from federation.pdu_checks import PduChecks
from federation.room_told import shown_state
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError
from homeserver.core.events import Draft, Event, signed_form
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of, is_user_id
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.core.signing import Signer, is_signature_valid
from homeserver.ports import Limits, RemoteScreen
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.incoming import Incoming
from homeserver.web.endpoint import Access, Answer, Json, endpoint

COUNTED_MAX = 20_000


class InviteBody(msgspec.Struct, frozen=True):
    room_version: str
    event: dict[str, Any]
    invite_room_state: list[dict[str, Any]] = []


class LocalUsers(Protocol):
    """Implemented by accounts."""

    async def existing(self, user_ids: Collection[UserId]) -> set[UserId]: ...


class Invitees:
    """Users of ours whom others may invite, each so often."""

    def __init__(self, users: LocalUsers, limits: Limits) -> None:
        self._users = users
        self._limits = limits

    async def check(self, user_id: UserId) -> None:
        """Raises MatrixError (M_NOT_FOUND) where there is no such user."""
        if not await self._users.existing([user_id]):
            raise MatrixError("there is no such user", errcode="M_NOT_FOUND", status=404)

    def count(self, user_id: UserId) -> None:
        """Counts an invite, whatever server it is of. Raises LimitExceeded."""
        self._limits.check("federation_invite_recipient", user_id)

    async def known(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Those of these who are users here. One query."""
        return await self._users.existing(user_ids)


class InvitesInRooms:
    """Implements ports.RemoteScreen, after another screen: invites of other servers in rooms that this server is in.

    They come as all events of the room do. What its server asked us for bears our signature and was counted then; what
    it didn't ask for counts all the same, and beyond what the invited user takes it is kept and not shown.
    """

    def __init__(self, invitees: Invitees, signer: Signer, then: RemoteScreen | None) -> None:
        self._invitees = invitees
        self._signer = signer
        self._then = then
        # What is looked at again, in a room that is made whole say, counts once.
        self._counted: OrderedDict[EventId, str | None] = OrderedDict()

    async def screen(self, room_id: RoomId, events: Sequence[Event]) -> Sequence[str | None]:
        reasons: list[str | None] = [None] * len(events)
        if self._then is not None:
            reasons = list(await self._then.screen(room_id, events))
        unasked = {
            place: UserId(event.state_key or "")
            for place, event in enumerate(events)
            if reasons[place] is None and self._is_unasked(event)
        }
        known = await self._invitees.known(set(unasked.values())) if unasked else set()
        for place, user_id in unasked.items():
            if user_id in known:
                reasons[place] = self._why_not(events[place].event_id, user_id)
        return reasons

    def _is_unasked(self, event: Event) -> bool:
        me = self._signer.server_name
        if event.type != "m.room.member" or event.membership != "invite" or not is_user_id(event.state_key):
            return False
        if domain_of(event.state_key or "") != me or domain_of(event.sender) == me:
            return False
        made = event.pdu["signatures"].get(me)
        signature = made.get(self._signer.key_id) if isinstance(made, dict) else None
        if signature is None:
            return True
        return not is_signature_valid(signed_form(event.version, event.pdu), signature, self._signer.verify_key)

    def _why_not(self, event_id: EventId, user_id: UserId) -> str | None:
        if event_id not in self._counted:
            try:
                self._invitees.count(user_id)
                self._counted[event_id] = None
            except LimitExceeded:
                self._counted[event_id] = "the invited user gets too many invites"
            if len(self._counted) > COUNTED_MAX:
                self._counted.popitem(last=False)
        return self._counted[event_id]


class FederatedInvites:
    """Signs invites to users of ours, and shows them."""

    def __init__(
        self, checks: PduChecks, invitees: Invitees, submission: Submission, incoming: Incoming, signer: Signer
    ) -> None:
        self._checks = checks
        self._invitees = invitees
        self._submission = submission
        self._incoming = incoming
        self._signer = signer

    @endpoint(
        "PUT",
        "/_matrix/federation/v2/invite/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_invite",
        spec="server-server-api/#put_matrixfederationv2inviteroomideventid",
    )
    async def invite(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: InviteBody) -> Answer:
        signed = await self._signed(origin, room_id, event_id, body)
        return Answer(orjson.dumps({"event": signed}))

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/invite/{room_id}/{event_id}",
        access=Access.SERVER,
        limit="federation_invite",
        spec="server-server-api/#put_matrixfederationv1inviteroomideventid",
    )
    async def invite_v1(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Answer:
        """For rooms of versions 1 and 2 only: the body is the event."""
        unsigned = body.get("unsigned")
        told = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
        shown = [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
        signed = await self._signed(origin, room_id, event_id, InviteBody("1", body, shown))
        return Answer(orjson.dumps([200, {"event": signed}]))

    async def _signed(self, origin: ServerName, room_id: RoomId, event_id: EventId, body: InviteBody) -> Json:
        version = ROOM_VERSIONS.get(body.room_version)
        if version is None:
            raise MatrixError(
                "this server doesn't know the room's version",
                errcode="M_INCOMPATIBLE_ROOM_VERSION",
                extra={"room_version": body.room_version},
            )
        event = await self._checks.check_one(version, body.event)
        if not isinstance(event, Event):
            raise Forbidden(event) if "signature" in event else InvalidParam(event)
        await self._check(event, origin, room_id, event_id)
        if version.room_id_from_create_event:
            await self._check_room(version, room_id, body.invite_room_state)
        draft = Draft(
            type=event.type,
            sender=event.sender,
            content=event.content,
            state_key=event.state_key,
            origin_server_ts=event.origin_server_ts,
        )
        await self._submission.judge(room_id, draft)
        # Last: what is refused anyway takes nothing from those who may invite the user.
        self._invitees.count(UserId(event.state_key or ""))
        signature = self._signer.signature(signed_form(version, event.pdu))
        own = {self._signer.server_name: {self._signer.key_id: signature}}
        pdu = {**event.pdu, "signatures": {**event.pdu["signatures"], **own}}
        whole = Event(version, pdu, event.event_id)
        await self._incoming.receive_invite(room_id, version, whole, shown_state(body.invite_room_state))
        return pdu

    async def _check_room(self, version: RoomVersion, room_id: RoomId, told: Sequence[dict[str, Any]]) -> None:
        """That the room is the one that its create event makes, where that is told as a whole. Raises InvalidParam.

        Servers of today tell it stripped, so that is no reason to refuse.
        """
        create = next((entry for entry in told if entry.get("type") == "m.room.create"), None)
        if create is None or "signatures" not in create:
            return
        event = await self._checks.check_one(version, create)
        if not isinstance(event, Event) or event.room_id != room_id:
            raise InvalidParam("the create event in invite_room_state is not this room's")

    async def _check(self, event: Event, origin: ServerName, room_id: RoomId, event_id: EventId) -> None:
        if event.event_id != event_id or event.room_id != room_id:
            raise InvalidParam("the path names another event")
        if event.type != "m.room.member" or event.membership != "invite" or event.state_key is None:
            raise InvalidParam("this is no invite")
        if domain_of(event.sender) != origin:
            raise Forbidden("a server speaks for its own users")
        if domain_of(event.state_key) != self._signer.server_name:
            raise InvalidParam("the invited user is not of this server")
        await self._invitees.check(UserId(event.state_key))
