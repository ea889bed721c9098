"""Events of rooms that we have only heard of: an invite that was taken back.

spec: server-server-api/#inviting-to-a-room
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from federation.pdu_checks import PduChecks
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of, is_user_id
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.residents import Rooms


class OutsideRooms:
    """Takes what may be believed without the room's state: that whoever invited takes it back."""

    def __init__(self, checks: PduChecks, rooms: Rooms, incoming: Incoming, server_name: ServerName) -> None:
        self._checks = checks
        self._rooms = rooms
        self._incoming = incoming
        self._server_name = server_name

    async def take(self, room_id: RoomId, pdus: Sequence[Mapping[str, Any]]) -> None:
        for pdu in pdus:
            target = pdu.get("state_key")
            if pdu.get("type") != "m.room.member" or not is_user_id(target):
                continue
            if domain_of(str(target)) == self._server_name:
                await self._take_back(room_id, UserId(str(target)), pdu)

    async def _take_back(self, room_id: RoomId, user_id: UserId, pdu: Mapping[str, Any]) -> None:
        invite = await self._rooms.outside_member(room_id, user_id)
        if invite is None or invite.event.membership != "invite" or invite.event.sender != pdu.get("sender"):
            return
        version = invite.event.version
        event = await self._checks.check_one(version, pdu)
        if not isinstance(event, Event) or event.room_id != room_id or event.membership not in ("leave", "ban"):
            return
        if invite.event.event_id in event.auth_event_ids:
            await self._incoming.note(room_id, version, event)
