"""Networks that bridges reach. spec: client-server-api/#third-party-networks"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.errors import InvalidParam, MissingParam, NotFound
from homeserver.core.identifiers import parse_room_alias, parse_user_id
from homeserver.ports import ThirdPartyNetworks
from homeserver.web.endpoint import Access, Caller, Json, Request, endpoint

_V3, _R0 = "/_matrix/client/v3/thirdparty", "/_matrix/client/r0/thirdparty"
FIELDS_MAX = 50
_SPEC = "client-server-api/#third-party-lookups"


class ThirdPartyLookup:
    """GET /thirdparty/…"""

    def __init__(self, networks: ThirdPartyNetworks) -> None:
        self._networks = networks

    @endpoint("GET", _V3 + "/protocols", _R0 + "/protocols", access=Access.USER, spec=_SPEC + "protocols")
    async def protocols(self, caller: Caller) -> Json:
        return dict(await self._networks.protocols())

    @endpoint(
        "GET",
        _V3 + "/protocol/{protocol}",
        _R0 + "/protocol/{protocol}",
        access=Access.USER,
        spec=_SPEC + "protocolprotocol",
    )
    async def protocol(self, caller: Caller, protocol: str) -> Json:
        return dict(await self._known(protocol))

    @endpoint(
        "GET",
        _V3 + "/location/{protocol}",
        _R0 + "/location/{protocol}",
        access=Access.USER,
        limit="directory",
        spec=_SPEC + "locationprotocol",
    )
    async def locations(self, caller: Caller, protocol: str, request: Request) -> list[dict[str, Any]]:
        return await self._by_fields("location", protocol, request)

    @endpoint(
        "GET",
        _V3 + "/user/{protocol}",
        _R0 + "/user/{protocol}",
        access=Access.USER,
        limit="directory",
        spec=_SPEC + "userprotocol",
    )
    async def users(self, caller: Caller, protocol: str, request: Request) -> list[dict[str, Any]]:
        return await self._by_fields("user", protocol, request)

    @endpoint(
        "GET", _V3 + "/location", _R0 + "/location", access=Access.USER, limit="directory", spec=_SPEC + "location"
    )
    async def locations_by_alias(self, caller: Caller, request: Request) -> list[dict[str, Any]]:
        alias = request.raw_query.get("alias")
        if alias is None:
            raise MissingParam("the query parameter alias is missing")
        return await self._found("location", None, {"alias": parse_room_alias(alias)})

    @endpoint("GET", _V3 + "/user", _R0 + "/user", access=Access.USER, limit="directory", spec=_SPEC + "user")
    async def users_by_id(self, caller: Caller, request: Request) -> list[dict[str, Any]]:
        user_id = request.raw_query.get("userid")
        if user_id is None:
            raise MissingParam("the query parameter userid is missing")
        return await self._found("user", None, {"userid": parse_user_id(user_id)})

    async def _by_fields(self, kind: str, protocol: str, request: Request) -> list[dict[str, Any]]:
        await self._known(protocol)
        fields = {key: value for key, value in request.raw_query.items() if key != "access_token"}
        if len(fields) > FIELDS_MAX or any("\x00" in text for pair in fields.items() for text in pair):
            raise InvalidParam(f"at most {FIELDS_MAX} fields, without NUL")
        return await self._found(kind, protocol, fields)

    async def _found(self, kind: str, protocol: str | None, fields: Mapping[str, str]) -> list[dict[str, Any]]:
        found = await self._networks.find(kind, protocol, fields)
        if not found:
            raise NotFound("no network knows of this")
        return found

    async def _known(self, protocol: str) -> Mapping[str, Any]:
        known = (await self._networks.protocols()).get(protocol)
        if known is None:
            raise NotFound("no such protocol is known here")
        described: Mapping[str, Any] = known
        return described
