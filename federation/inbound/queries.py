"""Questions about our users and aliases. spec: server-server-api/#querying-for-information"""

from __future__ import annotations

import msgspec

from homeserver.accounts.profile_access import ProfileAccess
from homeserver.accounts.profiles import Profiles
from homeserver.core.errors import InvalidParam, NotFound, Unrecognized
from homeserver.core.identifiers import ServerName, domain_of, parse_room_alias, parse_user_id
from homeserver.rooms.commands.directory import Aliases
from homeserver.web.endpoint import Access, Json, endpoint


class ProfileQuery(msgspec.Struct, frozen=True):
    user_id: str
    field: str | None = None


class DirectoryQuery(msgspec.Struct, frozen=True):
    room_alias: str


class QueryEndpoints:
    """Only what is ours is answered: nobody learns from us what others said."""

    def __init__(self, profiles: Profiles, access: ProfileAccess, aliases: Aliases, server_name: ServerName) -> None:
        self._profiles = profiles
        self._access = access
        self._aliases = aliases
        self._server_name = server_name

    @endpoint(
        "GET",
        "/_matrix/federation/v1/query/profile",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1queryprofile",
    )
    async def profile(self, origin: ServerName, query: ProfileQuery) -> Json:
        user_id = parse_user_id(query.user_id)
        if domain_of(user_id) != self._server_name:
            raise InvalidParam("user_id must be a user of this server")
        await self._access.check_server(origin, user_id)
        fields = await self._profiles.get(user_id)
        if query.field is None:
            return fields
        return {query.field: fields[query.field]} if query.field in fields else {}

    @endpoint(
        "GET",
        "/_matrix/federation/v1/query/directory",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1querydirectory",
    )
    async def directory(self, query: DirectoryQuery) -> Json:
        alias = parse_room_alias(query.room_alias)
        if domain_of(alias) != self._server_name:
            raise NotFound(f"there is no room alias {alias}")
        room_id, servers = await self._aliases.resolve(alias)
        return {"room_id": room_id, "servers": servers}

    @endpoint(
        "GET",
        "/_matrix/federation/v1/query/{query_type}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1queryquerytype",
    )
    async def other(self, query_type: str) -> Json:
        """Questions of other kinds than the specification's. We know none; a server that asks hears so once it is
        known who asks."""
        raise Unrecognized("this server doesn't know this type of query")
