"""spec: client-server-api/#published-room-directory"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from homeserver.core.errors import InvalidParam, MissingToken
from homeserver.core.identifiers import RoomId, ServerName, parse_server_name
from homeserver.ports import RemoteRooms
from homeserver.rooms.commands.directory import Publication
from homeserver.rooms.public_rooms import PublicRooms, Wanted, parse_room_types, parse_term
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_LIST_V3 = "/_matrix/client/v3/directory/list/room/{room_id}"
_LIST_R0 = "/_matrix/client/r0/directory/list/room/{room_id}"
_ROOMS_V3 = "/_matrix/client/v3/publicRooms"
_ROOMS_R0 = "/_matrix/client/r0/publicRooms"


class ServerQuery(msgspec.Struct, frozen=True):
    server: str | None = None


class ListQuery(msgspec.Struct, frozen=True):
    limit: int = 100
    since: str | None = None
    server: str | None = None


class Filter(msgspec.Struct, frozen=True):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class ListBody(msgspec.Struct, frozen=True):
    limit: int | None = None
    since: str | None = None
    filter: Filter | None = None
    include_all_networks: bool | None = None
    third_party_instance_id: str | None = None


class VisibilityBody(msgspec.Struct, frozen=True):
    visibility: Literal["public", "private"] = "public"


class ListPublicRooms:
    """/publicRooms and /directory/list/room."""

    def __init__(
        self,
        public_rooms: PublicRooms,
        publication: Publication,
        remote: RemoteRooms,
        server_name: ServerName,
        *,
        needs_login: bool,
    ) -> None:
        self._public_rooms = public_rooms
        self._publication = publication
        self._remote = remote
        self._server_name = server_name
        self._needs_login = needs_login

    @endpoint(
        "GET",
        _LIST_V3,
        _LIST_R0,
        access=Access.OPTIONAL,
        limit="directory",
        spec="client-server-api/#get_matrixclientv3directorylistroomroomid",
    )
    async def room_visibility(self, room_id: RoomId) -> Json:
        return {"visibility": await self._publication.visibility(room_id)}

    @endpoint(
        "PUT",
        _LIST_V3,
        _LIST_R0,
        access=Access.USER,
        limit="directory",
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3directorylistroomroomid",
    )
    async def set_room_visibility(self, caller: Caller, room_id: RoomId, body: VisibilityBody) -> Json:
        await self._publication.set_visibility(room_id, caller.user_id, body.visibility, is_admin=caller.is_admin)
        return {}

    @endpoint(
        "GET",
        _ROOMS_V3,
        _ROOMS_R0,
        access=Access.OPTIONAL,
        limit="directory",
        spec="client-server-api/#get_matrixclientv3publicrooms",
    )
    async def public_rooms(self, caller: Caller | None, query: ListQuery) -> Json:
        if caller is None and (self._needs_login or query.server not in (None, self._server_name)):
            raise MissingToken("an access token is needed")
        asked = {"limit": query.limit, "since": query.since}
        return await self._list(query.server, Wanted(limit=_limit(query.limit), since=query.since), asked)

    @endpoint(
        "POST",
        _ROOMS_V3,
        _ROOMS_R0,
        access=Access.GUEST,
        limit="directory",
        spec="client-server-api/#post_matrixclientv3publicrooms",
        needs_disk=False,
    )
    async def query_public_rooms(self, caller: Caller, query: ServerQuery, body: ListBody) -> Json:
        chosen = body.filter or Filter()
        if body.third_party_instance_id is not None and body.include_all_networks:
            raise InvalidParam("third_party_instance_id and include_all_networks exclude each other")
        wanted = Wanted(
            limit=_limit(body.limit),
            since=body.since,
            term=parse_term(chosen.generic_search_term),
            room_types=parse_room_types(chosen.room_types),
            instance_id=_checked(body.third_party_instance_id),
            all_networks=bool(body.include_all_networks),
        )
        return await self._list(query.server, wanted, msgspec.to_builtins(body))

    async def _list(self, server: str | None, wanted: Wanted, asked: dict[str, Any]) -> Json:
        if server is None or server == self._server_name:
            return await self._public_rooms.page(wanted)
        name = parse_server_name(server)
        return dict(
            await self._remote.public_rooms(name, {key: value for key, value in asked.items() if value is not None})
        )


def _checked(instance_id: str | None) -> str | None:
    if instance_id is not None and "\x00" in instance_id:
        raise InvalidParam("third_party_instance_id must not hold NUL")
    return instance_id


def _limit(limit: int | None) -> int:
    if limit is not None and limit < 0:
        raise InvalidParam("limit must not be negative")
    return limit or 100
