"""Asking the policy servers of rooms: for what users of ours send, and for what comes without a signature.

A server that doesn't answer is left alone for a while, as all that fail are; a refusal is remembered, so that nobody
makes us ask again.
spec: server-server-api/#policy-servers
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import structlog

from federation.client import FederationClient, FederationError, Unreachable
from federation.room_access import joined_servers
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.core.policy_server import (
    KEY_ID,
    POLICY,
    PolicyServer,
    is_signed,
    needs_signature,
    policy_server_of,
    with_signature,
)
from homeserver.ports import PolicyRefusals, RemoteScreen
from homeserver.rooms.residents import Room, Rooms

log = structlog.get_logger()

TIMEOUT_S = 10.0
REMEMBERED_MAX = 20_000
ASKED_AT_ONCE_MAX = 50
_BYTES_MAX = 4_096


class PolicyServers:
    """Implements ports.RemoteScreen, before another screen, and ports.PolicySignatures."""

    def __init__(
        self,
        client: FederationClient,
        rooms: Rooms,
        server_name: ServerName,
        then: RemoteScreen | None,
        refusals: PolicyRefusals | None = None,
    ) -> None:
        self._client = client
        self._refusals = refusals
        self._rooms = rooms
        self._me = server_name
        self._then = then
        self._refused: OrderedDict[EventId, str] = OrderedDict()

    async def screen(self, room_id: RoomId, events: Sequence[Event]) -> Sequence[str | None]:
        """Soft-fails what the room's policy server doesn't sign; asks the next screen about the rest."""
        reasons: Sequence[str | None] = [None] * len(events)
        if self._then is not None:
            reasons = await self._then.screen(room_id, events)
        room = await self._rooms.get(room_id)
        server = await self._server_of(room) if room is not None else None
        if server is None or server.via == self._me:
            return reasons
        found = list(reasons)
        for place, event in enumerate(events):
            if found[place] is None and needs_signature(event) and not is_signed(event, server):
                found[place] = await self._why_unsigned(event, server)
        return found

    async def wanted(self, room_id: RoomId) -> bool:
        """Whether another server must sign what is sent into the room."""
        room = await self._rooms.get(room_id)
        server = await self._server_of(room) if room is not None else None
        return server is not None and server.via != self._me

    async def signed(self, room_id: RoomId, event: Event) -> Event:
        """The event with its policy server's signature. Raises Forbidden with its reason, 502 where it is silent."""
        room = await self._rooms.get(room_id)
        server = await self._server_of(room) if room is not None else None
        if server is None:
            raise NotFound("the room has no policy server")
        if not needs_signature(event):
            return event
        try:
            return await self._ask(event, server)
        except FederationError as refusal:
            if self._refusals is not None:
                self._refusals.refused(event, server.via, refusal.message[:300])
            raise Forbidden(f"{server.via} refuses: {refusal.message[:300]}") from None
        except Unreachable:
            raise MatrixError(f"the room's policy server {server.via} doesn't answer", status=502) from None

    async def _server_of(self, room: Room) -> PolicyServer | None:
        room = await self._rooms.with_known(room, [POLICY])
        event = room.known_state(*POLICY)
        return policy_server_of(event, joined_servers(room)) if event is not None else None

    async def _why_unsigned(self, event: Event, server: PolicyServer) -> str | None:
        known = self._refused.get(event.event_id)
        if known is not None:
            return known
        try:
            await self._ask(event, server)
        except FederationError:
            why = f"the policy server {server.via} refused it"
            self._refused[event.event_id] = why
            if len(self._refused) > REMEMBERED_MAX:
                self._refused.popitem(last=False)
            return why
        except Unreachable:
            return f"the policy server {server.via} doesn't answer"
        return None

    async def _ask(self, event: Event, server: PolicyServer) -> Event:
        """Raises FederationError for a refusal or a wrong signature, Unreachable."""
        answer = await self._client.post(
            server.via, "/_matrix/policy/v1/sign", event.pdu, timeout_s=TIMEOUT_S, response_bytes_max=_BYTES_MAX
        )
        keys = answer.get(server.via)
        signature = keys.get(KEY_ID) if isinstance(keys, dict) else None
        signed = with_signature(event, server, signature) if isinstance(signature, str) else event
        if not is_signed(signed, server):
            raise FederationError(server.via, 200, "M_FORBIDDEN", "its signature is missing or wrong")
        return signed
