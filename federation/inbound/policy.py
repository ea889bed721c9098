"""Our half as a policy server: rooms that name us have their events looked at.

spec: server-server-api/#policy-servers
"""

from __future__ import annotations

from typing import Protocol

from federation.pdu_checks import PduChecks
from federation.room_access import RoomAccess, joined_servers
from homeserver.core.errors import BadJson, Forbidden, MatrixError, NotFound
from homeserver.core.events import Event, signed_form
from homeserver.core.identifiers import RoomId, ServerName, is_room_id
from homeserver.core.policy_server import KEY_ID, POLICY, needs_signature, policy_server_of
from homeserver.core.signing import Signer
from homeserver.rooms.residents import Rooms
from homeserver.web.endpoint import Access, Json, endpoint


class Verdicts(Protocol):
    """Implemented by admin.spam.gate."""

    async def refusal(self, room_id: RoomId, event: Event) -> str | None:
        """Why an event isn't wanted, in words for the one who sends it; None where it is."""
        ...


class PolicyServerEndpoint:
    """Signs what the rules have nothing against."""

    def __init__(self, access: RoomAccess, rooms: Rooms, checks: PduChecks, verdicts: Verdicts, signer: Signer) -> None:
        self._access = access
        self._rooms = rooms
        self._checks = checks
        self._verdicts = verdicts
        self._signer = signer

    @endpoint(
        "POST",
        "/_matrix/policy/v1/sign",
        access=Access.SERVER,
        limit="federation_policy",
        spec="server-server-api/#post_matrixpolicyv1sign",
    )
    async def sign(self, origin: ServerName, body: Json) -> Json:
        room_id = body.get("room_id")
        if not is_room_id(room_id):
            raise BadJson("room_id is missing: events of rooms that are being made are not looked at")
        room = await self._access.open_room(RoomId(str(room_id)), origin)
        room = await self._rooms.with_known(room, [POLICY])
        server = policy_server_of(room.known_state(*POLICY), joined_servers(room))
        if server is None or server.via != self._signer.server_name or server.verify_key != self._signer.verify_key:
            raise NotFound("this room isn't protected by this server")
        event = await self._checks.check_one(room.version, body)
        if not isinstance(event, Event):
            raise _refused(event) if "signature" in event else BadJson(event)
        if not needs_signature(event):
            raise _refused("the event that names the policy server is never signed by it")
        why = await self._verdicts.refusal(room.room_id, event)
        if why is not None:
            raise _refused(why)
        signature = self._signer.signature(signed_form(room.version, event.pdu))
        return {self._signer.server_name: {KEY_ID: signature}}


def _refused(why: str) -> MatrixError:
    return MatrixError(why, errcode=Forbidden.errcode, status=400)
