"""Invites to addresses, once those belong to somebody. spec: server-server-api/#third-party-invites"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import msgspec
import structlog

from federation.client import path_of
from federation.room_access import RoomAccess
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, RemoteFault
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, domain_of, is_room_id, is_user_id
from homeserver.web.endpoint import Access, Json, endpoint

log = structlog.get_logger()

INVITES_MAX = 50


class Invites(Protocol):
    """Implemented by accounts.third_party_invites."""

    async def exchange(self, room_id: RoomId, signed: Mapping[str, Any]) -> Event: ...


class Servers(Protocol):
    """Implemented by federation.client."""

    async def put(self, destination: ServerName, path: str, body: Json) -> Json: ...


class ExchangeBody(msgspec.Struct, frozen=True):
    content: dict[str, Any]
    sender: str
    state_key: str


class OnBindBody(msgspec.Struct, frozen=True):
    mxid: str
    invites: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=INVITES_MAX)] = []


class ThirdPartyInviteEndpoints:
    """PUT /exchange_third_party_invite and /3pid/onbind."""

    def __init__(self, invites: Invites, servers: Servers, access: RoomAccess) -> None:
        self._invites = invites
        self._servers = servers
        self._access = access
        self._server_name = access.server_name

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/exchange_third_party_invite/{room_id}",
        access=Access.SERVER,
        spec="server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid",
    )
    async def exchange(self, origin: ServerName, room_id: RoomId, body: ExchangeBody) -> Json:
        """The event is ours to write: of what was sent only the identity server's signed word is taken."""
        invite = body.content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if not isinstance(signed, dict) or signed.get("mxid") != body.state_key:
            raise InvalidParam("third_party_invite.signed must be about the invited user")
        if domain_of(body.state_key) != origin:
            raise Forbidden("a server may only ask for its own users")
        await self._access.open_room(room_id, origin)
        await self._invites.exchange(room_id, signed)
        return {}

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/3pid/onbind",
        access=Access.NONE,
        limit="email_requester",
        spec="server-server-api/#put_matrixfederationv13pidonbind",
    )
    async def on_bind(self, body: OnBindBody) -> Json:
        """An identity server tells that an address is one of our users' now. Each invite is proved by its signature;

        one that can't be exchanged doesn't keep the others.
        """
        if not is_user_id(body.mxid) or domain_of(body.mxid) != self._server_name:
            raise InvalidParam("this user is not of this server")
        for invite in body.invites:
            try:
                await self._take_up(body.mxid, invite)
            except (MatrixError, RemoteFault) as error:
                log.info("invite_by_address_not_exchanged", error=type(error).__name__)
        return {}

    async def _take_up(self, mxid: str, invite: Mapping[str, Any]) -> None:
        room_id, sender, signed = invite.get("room_id"), invite.get("sender"), invite.get("signed")
        if not is_room_id(room_id) or not is_user_id(sender) or not isinstance(signed, dict):
            raise InvalidParam("an invite needs room_id, sender and signed")
        if signed.get("mxid") != mxid:
            raise Forbidden("this invite is somebody else's")
        if domain_of(str(sender)) == self._server_name:
            await self._invites.exchange(RoomId(str(room_id)), signed)
            return
        content = {"membership": "invite", "third_party_invite": {"display_name": mxid, "signed": signed}}
        event = {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": sender,
            "state_key": mxid,
            "content": content,
        }
        path = path_of("/_matrix/federation/v1/exchange_third_party_invite/{}", str(room_id))
        await self._servers.put(domain_of(str(sender)), path, event)
