"""spec: client-server-api/#room-aliases"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomAlias, RoomId, parse_room_id
from homeserver.rooms.commands.directory import Aliases
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_V3 = "/_matrix/client/v3/directory/room/{room_alias}"
_R0 = "/_matrix/client/r0/directory/room/{room_alias}"


class AliasBody(msgspec.Struct, frozen=True):
    room_id: str


class Directory:
    """/directory/room and /rooms/{roomId}/aliases."""

    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases

    @endpoint(
        "GET",
        _V3,
        _R0,
        access=Access.OPTIONAL,
        limit="directory",
        spec="client-server-api/#get_matrixclientv3directoryroomroomalias",
    )
    async def room_id_by_alias(self, room_alias: RoomAlias) -> Json:
        room_id, servers = await self._aliases.resolve(room_alias)
        return {"room_id": room_id, "servers": servers}

    @endpoint(
        "PUT",
        _V3,
        _R0,
        access=Access.USER,
        limit="alias",
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3directoryroomroomalias",
    )
    async def set_room_alias(self, caller: Caller, room_alias: RoomAlias, body: AliasBody) -> Json:
        await self._aliases.add(room_alias, parse_room_id(body.room_id), caller.user_id)
        return {}

    @endpoint(
        "DELETE",
        _V3,
        _R0,
        access=Access.USER,
        limit="alias",
        while_suspended=False,
        spec="client-server-api/#delete_matrixclientv3directoryroomroomalias",
    )
    async def delete_room_alias(self, caller: Caller, room_alias: RoomAlias) -> Json:
        await self._aliases.remove(room_alias, caller.user_id, is_admin=caller.is_admin)
        return {}

    @endpoint(
        "GET",
        "/_matrix/client/v3/rooms/{room_id}/aliases",
        "/_matrix/client/r0/rooms/{room_id}/aliases",
        access=Access.USER,
        limit="directory",
        spec="client-server-api/#get_matrixclientv3roomsroomidaliases",
    )
    async def local_aliases(self, caller: Caller, room_id: RoomId) -> Json:
        return {"aliases": await self._aliases.of_room(room_id, caller.user_id, is_admin=caller.is_admin)}
