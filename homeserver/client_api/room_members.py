"""Who is in a room. spec: client-server-api/#get_matrixclientv3roomsroomidmembers"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.history import History
from homeserver.rooms.member_rations import MemberRations
from homeserver.rooms.places import parse_place
from homeserver.rooms.residents import Rooms
from homeserver.rooms.views import RoomViews
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

MEMBERSHIPS = frozenset({"join", "invite", "knock", "leave", "ban"})


class MembersQuery(msgspec.Struct, frozen=True):
    at: str | None = None
    membership: str | None = None
    not_membership: str | None = None


class RoomMembers:
    """GET /members and /joined_members."""

    def __init__(self, history: History, views: RoomViews, rooms: Rooms, rations: MemberRations) -> None:
        self._history = history
        self._views = views
        self._rooms = rooms
        self._rations = rations

    @endpoint(
        "GET",
        "/_matrix/client/v3/rooms/{room_id}/members",
        "/_matrix/client/r0/rooms/{room_id}/members",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3roomsroomidmembers",
    )
    async def members(self, caller: Caller, room_id: RoomId, query: MembersQuery) -> Answer:
        for value in (query.membership, query.not_membership):
            if value is not None and value not in MEMBERSHIPS:
                raise InvalidParam(f"membership must be one of {', '.join(sorted(MEMBERSHIPS))}")
        room = await self._history.room_for(caller.user_id, room_id)
        self._rations.count_list(caller.user_id, room)
        place = parse_place(query.at) if query.at is not None else None
        stored = await self._history.member_events(caller.user_id, room, place)
        wanted = [
            event
            for event in stored
            if query.membership in (None, event.event.membership) and event.event.membership != query.not_membership
        ]
        chunk = await self._views.events(wanted, Viewer(caller.user_id, caller.device_id))
        return Answer(orjson.dumps({"chunk": chunk}))

    @endpoint(
        "GET",
        "/_matrix/client/v3/rooms/{room_id}/joined_members",
        "/_matrix/client/r0/rooms/{room_id}/joined_members",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3roomsroomidjoined_members",
    )
    async def joined_members(self, caller: Caller, room_id: RoomId) -> Json:
        room = await self._rooms.joined_room(room_id, caller.user_id)
        self._rations.count_list(caller.user_id, room)
        stored = await self._history.member_events(caller.user_id, room, None)
        return {
            "joined": {
                event.event.state_key: _shown(event.event.content)
                for event in stored
                if event.event.membership == "join"
            }
        }


def _shown(content: Mapping[str, Any]) -> Json:
    """Name and picture, null where they aren't strings: whatever else a peer put there is left out."""
    found = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
    return {key: value if isinstance(value, str) else None for key, value in found.items()}
